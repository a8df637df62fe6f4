"""What a model card says of where weights come from, and of a training that was stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_config import TEXT, small_config

from wordorder.cli.main import main
from wordorder.training.run import Run
from wordorder.training.start import train


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "text.txt").write_text(TEXT)
    train(small_config(tmp_path / "text.txt", tmp_path / "run"))
    yield tmp_path / "run"


def changed(folder: Path, **entries: Any) -> Run:
    path = folder / "config.json"
    record = json.loads(path.read_text())
    training = {**record["training"], **entries.pop("training", {})}
    path.write_text(json.dumps({**record, **entries, "training": training}))
    return Run.load(folder)


def test_each_origin_is_said(folder: Path) -> None:
    assert Run.load(folder).origin == "trained from scratch on sequences of 16 tokens"
    parent = {"init": "/elsewhere/parent"}
    said = changed(folder, training=parent).origin
    assert said == "fine-tuned from `parent` on sequences of 16 tokens"
    extension = {"parent": "/elsewhere/parent"}
    said = changed(folder, extension=extension).origin
    assert said == "extended from `parent` to 16 tokens and fine-tuned on sequences of 16 tokens"
    said = changed(folder, training={"steps": None}).origin
    assert said == "extended from `parent` to 16 tokens and not trained further"
    for source, name in (("/models/Tiny", "Tiny"), ("hf:some/Tiny@0123", "some/Tiny@0123")):
        said = changed(folder, extension={}, **{"import": {"from": source}}).origin
        assert said == f"imported from `{name}`, whose trained length is 16 tokens,"


def test_a_stopped_training_is_said(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Run.load(folder).unfinished is None
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(x for x in lines if '"final"' not in x))
    shutil.rmtree(folder / "training" / "step-00000002")
    told = Run.load(folder).origin
    assert told.endswith("on sequences of 16 tokens (not to the end: saved at step 0 of 2)")
    for typed in (["eval", str(folder)], ["generate", str(folder), "a", "--max-tokens", "1"]):
        assert main(typed) == 0
        said = capsys.readouterr().err
        assert (
            f"note: the training of {folder} is not over, saved at step 0 of 2: go on with " in said
        )


def test_what_is_written_beside_the_current_folder_has_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.chdir(folder)
    before = {path.name for path in folder.iterdir()}
    assert main(["export", ".", "--to", "hf"]) == 0
    assert main(["extend", ".", "--to", "2x", "--retrieval", "none", "--method", "unchanged"]) == 0
    assert {path.name for path in folder.iterdir()} == before
    assert {path.name for path in folder.parent.iterdir()} >= {"run-hf", "run-32"}
    assert (folder.parent / "run-hf" / "README.md").read_text().count("\n# run-hf\n") == 1
