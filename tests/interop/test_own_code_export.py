"""The command that writes a modelling file, embeddings of one's own, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from exported_runs import write_run

from wordorder.cli.main import main
from wordorder.errors import BadInput, Refused
from wordorder.interop.export import export
from wordorder.interop.huggingface.export import HUGGING_FACE, OWN_CODE_TARGET
from wordorder.interop.huggingface.own_code import export as own_code_export
from wordorder.interop.huggingface.own_code.export import module_cache
from wordorder.interop.huggingface.own_code.sources import source_files
from wordorder.model import ModelConfig
from wordorder.training.run import Run

transformers = pytest.importorskip("transformers")


def test_what_no_stock_class_holds_has_a_modelling_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "run", position="kerple")
    assert main(["export", str(tmp_path / "run"), "--to", "hf"]) == 0
    out, error = capsys.readouterr()
    assert "WordorderForCausalLM: logits differ by at most" in out
    notes = [line for line in error.splitlines() if line.startswith("note: ")]
    assert len(notes) == 1 and "no stock class" in notes[0] and "trust_remote_code" in notes[0]
    folder = tmp_path / "run-hf"
    assert main(["export", str(tmp_path / "run"), "--to", "hf", "--overwrite"]) == 0
    assert (folder / "LICENSE-wordorder.txt").exists()
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "from_pretrained(folder, trust_remote_code=True)" in card


def test_a_stock_class_is_taken_unless_its_own_code_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run")
    assert export(run, HUGGING_FACE).written.holder == "Qwen3ForCausalLM"
    assert main(["export", str(tmp_path / "run"), "--to", "hf", "--own-code", "--overwrite"]) == 0
    out, error = capsys.readouterr()
    assert "WordorderForCausalLM" in out and "Qwen3ForCausalLM" in error
    assert (tmp_path / "run-hf" / "modelling_wordorder.py").exists()
    # A stock export in its place has none of its files.
    export(run, HUGGING_FACE, overwrite=True)
    assert not list((tmp_path / "run-hf").glob("*.py"))


def test_a_masked_model_fills_in(tmp_path: Path) -> None:
    folder = export(write_run(tmp_path / "run", position="fire", causal=False), HUGGING_FACE).folder
    with module_cache():
        filled = transformers.pipeline("fill-mask", model=str(folder), trust_remote_code=True)
        assert len(filled(f"a{filled.tokenizer.mask_token}b")) == 5


def test_the_users_cache_of_modules_is_left_alone(tmp_path: Path) -> None:
    from transformers import dynamic_module_utils as remote

    before = remote.HF_MODULES_CACHE, list(sys.path)
    export(write_run(tmp_path / "run", position="kerple"), HUGGING_FACE)
    assert (remote.HF_MODULES_CACHE, list(sys.path)) == before
    assert not [name for name in sys.modules if name.startswith("transformers_modules.")]
    assert not list(Path(before[0]).glob("transformers_modules/run_hyphen_hf*"))


def test_a_mistake_in_the_source_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(config: Any) -> dict[str, str]:
        files = source_files(config)
        name = "wordorder_positions_alibi.py"
        changed = files[name].replace("-slopes", "-2 * slopes").replace("-self.", "-2 * self.")
        assert changed != files[name]
        return files | {name: changed}

    monkeypatch.setattr(own_code_export, "source_files", broken)
    with pytest.raises(Refused) as caught:
        export(write_run(tmp_path / "run", position="alibi"), HUGGING_FACE)
    assert caught.value.code == "interop.logits-differ"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_trainer(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    folder = export(write_run(tmp_path / "run", position="kerple"), HUGGING_FACE).folder
    with module_cache():
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
        row = {"input_ids": list(range(12)), "labels": list(range(12))}
        settings = transformers.TrainingArguments(
            str(tmp_path / "trained"), max_steps=2, report_to=[], use_cpu=True
        )
        result = transformers.Trainer(model, settings, train_dataset=[row] * 8).train()
    assert result.global_step == 2 and 0 < result.training_loss < 10


MINE = """
import math  # which comes with Python
import torch
from torch import nn
from wordorder.positions import Position
from wordorder.positions.base import upcast
{more}

class Mine(Position):
    door = "score"
    {shared}

    def __init__(self, shape, /, *, rate=0.5):
        super().__init__(shape)
        self.rate = rate
        self.weight = nn.Parameter(torch.ones(shape.heads))

    def distance_bias(self, distance):
        scale = math.log(2) * self.rate * upcast(self.weight)
        return -scale.view(-1, *[1] * distance.dim()) * distance.abs().float()
"""


def own_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, more: str = "", shared: str = ""
) -> Run:
    """A run with an embedding of its user's, in a file in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path(f"{module}.py").write_text(MINE.format(more=more, shared=shared), encoding="utf-8")
    write_run(tmp_path / "run", position=f"{module}.Mine:rate=0.25+rotary", trust=True)
    return Run.load(tmp_path / "run", trust=True)


def test_an_embedding_of_ones_own_comes_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = own_class(tmp_path, monkeypatch, "mine_alone", more="import tokenizers")
    exported = export(run, HUGGING_FACE)
    text = (exported.folder / "own_mine_alone.py").read_text(encoding="utf-8")
    assert "from .wordorder_positions_base import Position\n" in text
    assert text.startswith("# Generated by wordorder ") and "licence" not in text.partition("\n")[0]
    assert "the code needs the packages tokenizers" in exported.written.notes
    assert "own_mine_alone" in (exported.folder / "wordorder_positions.py").read_text()
    export(run, HUGGING_FACE, overwrite=True)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1"])
def test_a_file_in_another_encoding_comes_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.chdir(tmp_path)
    module = f"mine_{encoding.replace('-', '_')}"
    line = "# -*- coding: latin-1 -*-\n" if encoding == "latin-1" else ""
    text = line + MINE.format(more="NAME = 'caf\u00e9'", shared="")
    Path(f"{module}.py").write_bytes(text.encode(encoding))
    write_run(tmp_path / "run", position=f"{module}.Mine:rate=0.25+rotary", trust=True)
    folder = export(Run.load(tmp_path / "run", trust=True), HUGGING_FACE).folder
    copied = (folder / f"own_{module}.py").read_text(encoding="utf-8")
    assert "caf\u00e9" in copied and "coding:" not in copied


@pytest.mark.parametrize(
    "module,more,code",
    [
        ("mine_beside", "import beside", "interop.import-not-exported"),
        ("mine_deep", "import wordorder.positions", "interop.import-cannot-be-rewritten"),
        ("mine_star", "from wordorder.positions import *", "interop.import-cannot-be-rewritten"),
        ("mine_model", "from wordorder.model import layers", "interop.import-not-exported"),
    ],
)
def test_what_cannot_come_along_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, more: str, code: str
) -> None:
    (tmp_path / "beside.py").write_text("", encoding="utf-8")
    run = own_class(tmp_path, monkeypatch, module, more=more)
    with pytest.raises(BadInput) as caught:
        export(run, HUGGING_FACE)
    assert caught.value.code == code and "\n" not in str(caught.value)
    assert module in str(caught.value)
    assert not (tmp_path / "run-hf").exists()


def test_a_gru_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInput) as caught:
        HUGGING_FACE.holds(ModelConfig(kind="gru"))
    assert caught.value.code == "interop.no-class-for-kind"
    with pytest.raises(BadInput):
        OWN_CODE_TARGET.holds(ModelConfig(kind="gru"))
