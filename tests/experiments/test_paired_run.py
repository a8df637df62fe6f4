"""A run of a comparison or a claim: done once, and anew where it is to be another one."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from small_config import TEXT, small_config

from wordorder.experiments.calibration import as_job
from wordorder.experiments.paired_run import train_and_measure
from wordorder.training.compute import Compute
from wordorder.training.metrics import read

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


def test_where_and_how_a_run_is_computed_does_not_make_it_another(folder: Path) -> None:
    run(folder)
    before = (folder / "metrics.jsonl").read_bytes()
    run(folder, threads=1, checkpoint_every=1, sample_prompt="a")
    assert (folder / "metrics.jsonl").read_bytes() == before
