"""A run of a comparison or a claim: done once, and anew where it is to be another one."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from small_config import TEXT, small_config

from wordorder.errors import BadInput
from wordorder.evaluation.loss import evaluate
from wordorder.experiments.calibration import as_job
from wordorder.experiments.jobs import check_code
from wordorder.experiments.paired_run import choice_of, train_and_measure
from wordorder.training.compute import Compute
from wordorder.training.metrics import read
from wordorder.training.run import Run
from wordorder.training.training_data import read_training_data

MACHINE = asdict(Compute("cpu", 1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path / "run"


def run(folder: Path, **changes: Any) -> list[int]:
    """Train as configured, with changes, and return the steps of the run that is there."""
    config = replace(small_config(folder.parent / "my.txt", folder), **changes)
    job = {**as_job(config), "machine": MACHINE, "folder": str(folder), "command": None}
    train_and_measure({**job, "measure": None}, lambda *_: None)
    return [each["step"] for each in read(folder / "metrics.jsonl") if "loss" in each]


def test_a_run_that_is_there_is_not_trained_again(folder: Path) -> None:
    assert run(folder) == [1, 2]
    before = (folder / "metrics.jsonl").read_bytes()
    assert run(folder) == [1, 2]
    assert (folder / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "changes", [{"steps": 3}, {"learning_rate": 0.02}, {"seed": 1}, {"weight_decay": 0.5}]
)
def test_another_run_in_its_folder_is_trained_anew(folder: Path, changes: dict[str, Any]) -> None:
    run(folder)
    before = (folder / "model.safetensors").read_bytes()
    assert len(run(folder, **changes)) == changes.get("steps", 2)
    assert (folder / "model.safetensors").read_bytes() != before


def test_code_that_changed_after_the_command_began_is_not_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its result would be kept under the code of the beginning."""
    monkeypatch.setattr("wordorder.positions.code_of", lambda spec: "now")
    check_code("mine.Mine", "now")
    check_code("rotary", None)
    config = small_config(folder.parent / "my.txt", folder)
    job = {**as_job(config), "machine": MACHINE, "folder": str(folder), "command": None}
    with pytest.raises(BadInput, match="has changed since this command began"):
        train_and_measure({**job, "measure": None, "code": "then"}, lambda *_: None)
    assert not folder.exists()


def test_where_and_how_a_run_is_computed_does_not_make_it_another(folder: Path) -> None:
    run(folder)
    before = (folder / "metrics.jsonl").read_bytes()
    run(folder, threads=1, checkpoint_every=1, sample_prompt="a")
    assert (folder / "metrics.jsonl").read_bytes() == before


def test_a_rate_for_a_mixture_is_chosen_by_all_of_its_parts(folder: Path) -> None:
    """In the development losses of each part, weighted as in training."""
    other = folder.parent / "other.txt"
    other.write_text("Zweitens: other words. " * 60, encoding="utf-8")
    data = (f"{folder.parent / 'my.txt'}=0.05", f"{other}=0.95")
    run(folder, data=data, steps=4)
    there = Run.load(folder)
    chosen = choice_of(there)
    parts = read_training_data(replace(small_config(Path(), folder), data=data)).parts
    losses = [
        part.weight * evaluate(there.model, part.data.development, context_length=16).loss_nats
        for part in parts
    ]
    assert chosen == {"text": "development", "validation_loss": pytest.approx(sum(losses))}
    assert len(losses) == 2
