"""`wordorder extend` as a user runs it: a new run, tables, a picture, and where it must say no."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from wordorder.cli.extend import _bound
from wordorder.cli.main import main
from wordorder.model import ModelConfig

SMALL = (
    "--width 32 --layers 1 --heads 2 --trained-length 16 --batch-size 4 --tokenizer bytes "
    "--dtype float32 --kernel plain --compile no --threads 1 --steps 2"
).split()
BARE = ["--retrieval", "none", "--json"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs to extend: rotary, learned, ALiBi, a GRU; on a text whose documents are long."""
    folder = tmp_path_factory.mktemp("extend")
    long = "the dog and the man, in words and in order. " * 60
    for name in "ab":
        (folder / f"{name}.txt").write_text(f"{name} {long}", encoding="utf-8")
    data = ["--data", str(folder / "a.txt"), str(folder / "b.txt")]
    for name, words in {
        "rotary": [],
        "learned": ["--position", "learned"],
        "alibi": ["--position", "alibi"],
        "gru": ["--model", "gru"],
    }.items():
        assert main(["train", *SMALL, *words, *data, "--out", str(folder / name)]) == 0
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run `wordorder extend`; returns its exit code, stdout and stderr."""
    capsys.readouterr()
    code = main(["extend", *words])
    said = capsys.readouterr()
    return code, said.out, said.err


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_auto_tries_everything_and_takes_the_best(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "long"
    code, printed, _ = run(capsys, str(runs / "rotary"), "--to", "4x", "--out", str(out))
    assert code == 0
    assert printed.splitlines()[-1] == str(out)
    for title in (
        "Applicable methods, without training",
        "Loss of the same tokens with growing context",
        "At the old length of 16",
        "Passkey: retrieval by depth",
    ):
        assert title in printed
    found = json.loads((out / "extension.json").read_text())
    losses = [t["context"]["lengths"][-1]["loss_nats"] for t in found["tried"]]
    assert losses == sorted(losses)
    names = [t["method"] for t in found["tried"]]
    assert len(names) == 11 and found["method"] == names[0]
    assert [s["sinks"] for s in found["streamed"]] == [0, 4]
    assert found["parent"] == str(runs / "rotary")
    for name in ("config.json", "tokenizer.json", "extension.md", "extension.png"):
        assert (out / name).stat().st_size > 0
    for name, tensor in weights_of(runs / "rotary").items():
        assert torch.equal(tensor, weights_of(out)[name])
    config = json.loads((out / "config.json").read_text())
    assert config["model"]["trained_length"] == 64
    position = config["model"]["position"]
    by_base = position.startswith("rotary") and "scaling" not in position
    assert ("with 8 rotated pairs favours similar keys" in printed) == by_base
    # What it carries is used where it writes on past the old length.
    assert main(["generate", str(out), "the dog", "--max-tokens", "40", "--seed", "1"]) == 0


def test_what_the_base_of_the_trained_length_bounds_is_said() -> None:
    short = ModelConfig(position="rotary", width=32, heads=2, trained_length=16)
    assert _bound(short).startswith("Base 312.5 with 8 rotated pairs favours similar keys up to ")
    own = "rotary:fraction=0.5,proportional=true"  # other frequencies than the bound's
    for position in ("alibi", "rotary:scaling=linear,factor=4", own):
        assert _bound(replace(short, position=position)) is None


def test_fine_tuned_runs_go_on_to_the_bit(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tuned"
    asked = ["--to", "64", "--method", "yarn", "--steps", "3", "--out", str(out), *BARE]
    code, printed, _ = run(capsys, str(runs / "rotary"), *asked)
    assert code == 0
    found = json.loads(printed)
    spelled = "rotary:base=312.5,scaling=yarn,factor=4,original_length=16"
    assert found["position"].startswith(spelled)
    assert found["before"]["context"]["targets"] == found["after"]["context"]["targets"]
    straight = weights_of(out)
    changed = weights_of(runs / "rotary")
    assert any(not torch.equal(straight[name], changed[name]) for name in straight)

    # As if it had been killed before it was done: the last checkpoint is not there.
    shutil.rmtree(out / "training" / "step-00000003")
    (out / "extension.json").unlink()
    code, printed, _ = run(capsys, str(out), "--resume", "--json")
    assert code == 0
    assert json.loads(printed)["after"] == found["after"]
    again = weights_of(out)
    assert all(torch.equal(again[name], straight[name]) for name in straight)


@pytest.mark.parametrize("first", ["unchanged", "base", "self-extend", "drop", "ntk"])
def test_extending_again_begins_at_the_length_of_the_training(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], first: str
) -> None:
    """An extension without training has its parent's weights, whatever its embedding is."""
    twice, at_once = tmp_path / "twice", tmp_path / "at-once"
    yarn = ["--to", "64", "--method", "yarn", *BARE]
    half = ["--to", "32", "--method", first, "--out", str(tmp_path / "half"), *BARE]
    assert run(capsys, str(runs / "rotary"), *half)[0] == 0
    assert run(capsys, str(tmp_path / "half"), *yarn, "--out", str(twice))[0] == 0
    assert run(capsys, str(runs / "rotary"), *yarn, "--out", str(at_once))[0] == 0
    models = [json.loads((each / "config.json").read_text())["model"] for each in (twice, at_once)]
    assert models[0] == models[1]
    assert "scaling=yarn,factor=4,original_length=16" in models[0]["position"]


def test_a_method_that_cannot_does_not_end_the_search(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(runs / "rotary"), "--to", "64", "--neighbours", "16", *BARE]
    code, printed, _ = run(capsys, *words, "--out", str(tmp_path / "auto"))
    tried = {each["method"]: each["cannot"] for each in json.loads(printed)["tried"]}
    assert code == 0 and tried["self-extend"].startswith("--neighbours 16 leaves no tokens")
    alone = [*words, "--method", "self-extend", "--out", str(tmp_path / "alone")]
    assert run(capsys, *alone)[0] == 2


def test_a_fine_tune_reads_its_text_as_often_as_asked(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tuned"
    asked = ["--to", "64", "--method", "yarn", "--epochs", "1", "--out", str(out), *BARE]
    assert run(capsys, str(runs / "rotary"), *asked)[0] == 0
    plan = json.loads((out / "config.json").read_text())["plan"]
    assert plan["epochs"] >= 1 > plan["epochs"] * (plan["steps"] - 1) / plan["steps"]


@pytest.mark.parametrize("tuned", [[], ["--method", "yarn", "--steps", "2"]])
def test_the_text_that_is_recorded_is_the_one_that_was_read(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], tuned: list[str]
) -> None:
    other, out = tmp_path / "other.txt", tmp_path / "long"
    other.write_text("another text of other words and other lines. " * 60, encoding="utf-8")
    asked = ["--to", "2x", "--data", str(other), "--out", str(out), *BARE, *tuned]
    assert run(capsys, str(runs / "rotary"), *asked)[0] == 0
    recorded, parent = (
        json.loads((folder / "config.json").read_text()) for folder in (out, runs / "rotary")
    )
    assert recorded["data"]["name"] == str(other)
    assert recorded["training"]["data"] == [str(other)]
    assert recorded["extension"]["parent_data"] == parent["data"]
    assert main(["eval", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"] == f"{other} (validation)"
    if tuned:
        card = (out / "README.md").read_text(encoding="utf-8")
        assert f"fine-tuned from `{runs / 'rotary'}`" in card and "from scratch" not in card


def test_parent_that_has_moved(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parent, moved, out = tmp_path / "parent", tmp_path / "moved", tmp_path / "child"
    shutil.copytree(runs / "alibi", parent)
    asked = ["--to", "2x", "--out", str(out), *BARE]
    assert run(capsys, str(parent), *asked)[0] == 0
    parent.rename(moved)
    code, _, said = run(capsys, str(out), "--resume")
    assert code == 2
    assert f"extended from {parent}, which does not exist any more" in said
    assert "--parent FOLDER" in said
    assert run(capsys, str(out), "--resume", "--parent", str(moved), "--json")[0] == 0
    code, _, said = run(capsys, str(out), "--resume", "--parent", str(runs / "rotary"))
    assert code == 2
    assert "no longer holds the weights" in said


@pytest.mark.parametrize(
    ("name", "method", "position"),
    [("learned", "resample", "learned:length=64"), ("alibi", "unchanged", "alibi")],
)
def test_tables_are_stretched_and_biases_need_nothing(
    runs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    method: str,
    position: str,
) -> None:
    out = tmp_path / "long"
    code, printed, _ = run(capsys, str(runs / name), "--to", "64", "--out", str(out), *BARE)
    assert code == 0
    found = json.loads(printed)
    assert (found["method"], found["position"]) == (method, position)
    ends = found["before"]["context"]["lengths"][-1]
    assert (ends["loss_nats"] is None) == (name == "learned")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("rotary", "--to is missing"),
        ("rotary --to 16", "--to 16 is 16 tokens, not above the run's trained length of 16"),
        ("rotary --to 0.5x", "not above the run's trained length"),
        (f"rotary --to {'9' * 400}x", "is not a length: give a factor such as 4x"),
        ("rotary --to far", "--to far is not a length: give a factor such as 4x"),
        ("alibi --to 4x --method yarn", "yarn applies to rotary, and the run has alibi: choose"),
        ("rotary --to 4x --method yarm", "unknown method 'yarm': choose from auto, unchanged"),
        (
            "rotary --to 99999",
            "b.txt has 99,999 tokens, the longest has 266: give",
        ),
        ("rotary --to 99999 --pack", "fewer than 99,999"),
        ("gru --to 4x", "give a run of a transformer that predicts the next token"),
        ("rotary --to 4x --epochs 0", "--epochs is 0.0: it must be above 0"),
        ("rotary --to 4x --steps 2 --time 3s", "--time and --steps both set the length of the run"),
        ("rotary --to 4x --out rotary", "holds a run"),
        ("rotary --to 4x --base -1", "--base is -1.0: it must be at least 0"),
        ("rotary --to 4x --base nan", "--base is nan: it must be a finite number, at least 0"),
        ("rotary --to 4x --neighbours -1", "--neighbours is -1: it must be at least 0"),
        ("rotary --to 4x --rate nan --steps 1", "--rate is nan: it must be a finite number"),
        ("rotary --to 4x --rate -1 --steps 1", "--rate is -1.0: it must be above 0"),
        ("rotary --to 4x --batch-size -1 --steps 1", "--batch-size is -1: it must be at least 0"),
        ("rotary --resume", "was not created by wordorder extend"),
        ("rotary --to 4x --retrieval passkeys", "passkey, multi-key, variable-tracking, recall"),
    ],
)
def test_bad_input_is_one_line(
    runs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    said: str,
) -> None:
    monkeypatch.chdir(runs)
    before = sorted(runs.iterdir())
    code, printed, line = run(capsys, *words.split())
    assert code == 2
    assert not printed
    assert line.startswith("error: ") and len(line.splitlines()) == 1
    assert said in line
    assert sorted(runs.iterdir()) == before
