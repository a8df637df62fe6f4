"""A run whose files someone has edited: one error that names the file, and nothing is changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_config import TEXT, small_config

import wordorder as wo
from wordorder.errors import BadInput
from wordorder.training.compute import Compute
from wordorder.training.run import Run

Edit = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    text = folder / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    return wo.train(small_config(text, folder / "run")).folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda record: record.update(training=None), " is damaged: training is null, not"),
        (
            lambda record: record.update(model=[]),
            r" is damaged: model is \[\], not a JSON object",
        ),
        (lambda record: record.update(machine=3), " is damaged: machine is 3, not"),
        (lambda record: record.update(plan=[]), " is damaged: plan is"),
        (
            lambda record: record.update(steps="10"),
            " is damaged: steps is 10, not a whole",
        ),
        (lambda record: record.pop("machine"), " is damaged: 'machine' is missing"),
        (lambda record: record.update(data={}), " is damaged: 'content_hash' is missing"),
        (
            lambda record: record["plan"].update(steps="x"),
            ": steps is x: it must be",
        ),
        (lambda record: record["machine"].update(fan=1), ": unknown machine fields: fan"),
        (lambda record: record["machine"].pop("threads"), ": the machine field threads is missing"),
        (lambda record: record["machine"].update(threads="x"), ": threads is x: it must be"),
        (lambda record: record["machine"].update(dtype="int4"), ": dtype is int4: it must be"),
        (lambda record: record["model"].update(width="x"), ": width is x: it must be"),
        (lambda record: record["training"].update(lr=1), ": unknown training fields: lr"),
    ],
)
def test_an_edited_record_is_named(run: Path, edit: Edit, message: str) -> None:
    path = run / "config.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    edit(record)
    path.write_text(json.dumps(record), encoding="utf-8")
    before = files(run)
    with pytest.raises(BadInput, match=rf"config\.json{message}"):
        wo.resume(run)
    assert files(run) == before


@pytest.mark.parametrize("content", ["", "[]", "[" * 100_000, "null", "{"])
def test_a_record_that_is_none_is_named(run: Path, content: str) -> None:
    (run / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(BadInput, match=r"config\.json is damaged"):
        wo.load(run)
    with pytest.raises(BadInput, match=r"config\.json is damaged"):
        wo.resume(run)


@pytest.mark.parametrize(
    ("name", "content", "code", "advice"),
    [
        ("config.json", '{"model_type": "llama"}', "transformers-model", "wordorder import "),
        ("config.json", '{"model_type": "wordorder"}', "transformers-model", "give the run"),
        ("model.onnx", "", "exported-model", "onnxruntime"),
        ("model.gguf", "", "exported-model", "--engine llama.cpp"),
    ],
)
def test_a_model_of_another_program_is_named(
    tmp_path: Path, name: str, content: str, code: str, advice: str
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    for read in (wo.load, wo.resume):
        with pytest.raises(BadInput, match=advice) as caught:
            read(tmp_path)
        assert caught.value.code == f"training.{code}"


def test_a_file_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "one.txt").touch()
    for read in (wo.load, wo.resume):
        with pytest.raises(BadInput, match=r"one\.txt is a file: give the run folder"):
            read(tmp_path / "one.txt")


def test_what_was_imported_has_no_training_to_resume(run: Path) -> None:
    path = run / "config.json"
    record = {**json.loads(path.read_text(encoding="utf-8")), "import": {"from": "hf:a/b"}}
    path.write_text(json.dumps({**record, "machine": {}}), encoding="utf-8")
    with pytest.raises(BadInput, match=rf"train from its weights .* --init {run}$"):
        wo.resume(run)


def test_a_run_killed_before_its_first_lines_is_not_over(run: Path) -> None:
    (run / "metrics.jsonl").unlink()
    assert "saved at step" in (Run.load(run).unfinished or "")


def test_a_run_without_its_tokenizer_is_not_resumed(run: Path) -> None:
    (run / "tokenizer.json").unlink()
    with pytest.raises(BadInput, match=r"tokenizer\.json is missing") as caught:
        wo.resume(run)
    assert caught.value.code == "training.record-missing"


def test_a_folder_without_a_file_of_a_run_is_not_one(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    for read in (wo.load, wo.resume):
        with pytest.raises(BadInput, match="is not a run: it has none of a run") as caught:
            read(tmp_path)
        assert caught.value.code == "training.not-a-run"
        assert "--overwrite" not in str(caught.value)
    (tmp_path / "runs/a").mkdir(parents=True)
    (tmp_path / "runs/a/model.safetensors").touch()
    for read in (wo.load, wo.resume):
        with pytest.raises(BadInput, match="is a folder of runs, not a run: give one of") as caught:
            read(tmp_path)


def test_weights_of_another_shape_are_named(run: Path) -> None:
    path = run / "model.safetensors"
    save_file({**load_file(path), "embedding.weight": torch.zeros(3, 3)}, path)
    with pytest.raises(BadInput, match=r"embedding\.weight") as caught:
        _ = wo.load(run).model
    assert caught.value.code == "training.other-weights"


def test_weights_that_are_not_finite_are_named(run: Path) -> None:
    path = run / "model.safetensors"
    weights = load_file(path)
    weights["embedding.weight"][1, 2] = torch.nan
    save_file(weights, path)
    with pytest.raises(BadInput, match=r"or NaN, in embedding\.weight") as caught:
        _ = wo.load(run).model
    assert caught.value.code == "training.stored-weights-not-finite"


def test_a_run_goes_on_without_the_lines_that_a_damaged_one_stood_in(run: Path) -> None:
    path = run / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(['{"a": 1}\n', *lines]), encoding="utf-8")
    with pytest.raises(BadInput, match=r"line 1 of .* \(an object without a step\)") as caught:
        wo.resume(run)
    assert caught.value.code == "training.damaged-metrics"
    path.write_text("".join(lines[1:]), encoding="utf-8")
    assert wo.resume(run).folder == run


def test_a_machine_is_read_as_it_was_recorded() -> None:
    compute = Compute("cuda:1", 4, dtype="bfloat16", kernel="flex", processor="a GPU")
    assert Compute.from_dict(json.loads(json.dumps(compute.to_dict()))) == compute


def test_a_home_folder_is_meant_by_the_same_sign_everywhere(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    folder = wo.train(small_config(trained.parent / "text.txt", "~/r")).folder
    assert folder == tmp_path / "r"
    assert wo.load("~/r").folder == wo.resume("~/r").folder == folder
    nobody = wo.train(small_config(trained.parent / "text.txt", "~nobody-of-this-name/r")).folder
    assert nobody.resolve() == tmp_path / "~nobody-of-this-name" / "r"


MODES: dict[str, Callable[[], Any]] = {
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu"),
    "device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("mode", [*MODES, "dtype"])
def test_what_the_caller_has_set_changes_no_run(trained: Path, tmp_path: Path, mode: str) -> None:
    config = small_config(trained.parent / "text.txt", tmp_path / "r")
    if mode == "dtype":
        torch.set_default_dtype(torch.float64)
        try:
            run = wo.train(config)
            assert next(run.model.parameters()).dtype == torch.float32
            assert torch.get_default_dtype() == torch.float64
        finally:
            torch.set_default_dtype(torch.float32)
    else:
        with MODES[mode]():
            run = wo.train(config)
    weights = "model.safetensors"
    assert (run.folder / weights).read_bytes() == (trained / weights).read_bytes()


def test_loading_leaves_the_callers_random_numbers(trained: Path) -> None:
    before = torch.get_rng_state()
    Run.load(trained).load_model()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("tokenizer", ["bpe", "bytes", "characters"])
def test_half_a_surrogate_pair_is_no_text(trained: Path, tmp_path: Path, tokenizer: str) -> None:
    config = small_config(trained.parent / "text.txt", tmp_path / "r")
    with pytest.raises(BadInput, match="lone surrogate"):
        wo.train(replace(config, tokenizer=tokenizer, sample_prompt="\ud800"))
