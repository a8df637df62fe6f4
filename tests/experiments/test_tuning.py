"""Learning rates: which factors are tried, on which text they are chosen, and what is kept."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wordorder.experiments import paired_run, tables, tuning
from wordorder.experiments.grid import Cell
from wordorder.experiments.jobs import Outcome
from wordorder.experiments.runner import Progress
from wordorder.model import ModelConfig
from wordorder.training.config import TrainConfig
from wordorder.training.start import train
from wordorder.training.training_data import read_training_data

# The factor at which each embedding learns best, were any factor allowed.
BEST = {"none": 1.0, "alibi": 4.0, "rotary": 1 / 64, "t5": 100.0}


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Cell]:
    """Instead of training, a loss that grows with the distance from the best factor."""
    cells: list[Cell] = []

    def run_cells(
        record: Any, asked: list[Cell], measure: Any, show: Any, cluster: Any
    ) -> list[Outcome]:
        assert measure == paired_run.CHOOSING
        cells.extend(asked)
        outcomes = []
        for cell in asked:
            if cell.position == "none" and cell.rate == 2.0:
                outcomes.append(Outcome(error="the loss is not a number"))
                continue
            away = abs(math.log2(cell.rate / BEST[cell.position]))
            noise = 0.001 * (cell.seed % 2)
            found = {"validation_loss": 3 + 0.01 * away + noise, "text": "development"}
            outcomes.append(Outcome(found))
        return outcomes

    monkeypatch.setattr(tuning, "run_cells", run_cells)
    return cells


def record(*positions: str, tuned: Any = None, tuning: Any = None) -> Any:
    return SimpleNamespace(steps=99, positions=list(positions), tuned=tuned, tuning=tuning)


def factors(cells: list[Cell], position: str) -> list[float]:
    return sorted({cell.rate for cell in cells if cell.position == position})


def test_the_best_factor_is_looked_for_past_the_edge(tmp_path: Path, tried: list[Cell]) -> None:
    found = tuning.tune(tmp_path, record("none", "alibi", "rotary", "t5"), Progress())
    assert found["chosen"] == {"none": 1.0, "alibi": 4.0, "rotary": 1 / 8, "t5": 8.0}
    assert factors(tried, "none") == [0.5, 1, 2]
    assert factors(tried, "alibi") == [0.5, 1, 2, 4, 8]
    assert factors(tried, "rotary") == [1 / 8, 1 / 4, 0.5, 1, 2]
    assert factors(tried, "t5") == [0.5, 1, 2, 4, 8]
    assert {cell.seed for cell in tried} == set(tuning.SEEDS) and len(tuning.SEEDS) == 2
    assert {cell.steps for cell in tried} == {50}
    assert len({cell.folder for cell in tried}) == len(tried)


def test_the_whole_curve_is_kept_and_which_text_chose(tmp_path: Path, tried: list[Cell]) -> None:
    found = tuning.tune(tmp_path, record("alibi"), Progress())
    assert found["text"] == "development" and found["steps"] == 50
    assert list(found["losses"]["alibi"]) == ["0.5", "1", "2", "4", "8"]
    assert found["losses"]["alibi"]["4"] == pytest.approx([3.0, 3.001])


def test_what_is_tuned_is_not_tuned_again(tmp_path: Path, tried: list[Cell]) -> None:
    first = tuning.tune(tmp_path, record("alibi"), Progress())
    tried.clear()
    before = record("alibi", "none", tuned=first["chosen"], tuning=first)
    found = tuning.tune(tmp_path, before, Progress())
    assert {cell.position for cell in tried} == {"none"}
    assert found["chosen"] == {"alibi": 4.0, "none": 1.0}
    assert found["losses"]["alibi"] == first["losses"]["alibi"]


def test_what_is_left_out_and_added_again_has_the_factor_it_had(
    tmp_path: Path, tried: list[Cell]
) -> None:
    first = tuning.tune(tmp_path, record("none", "alibi"), Progress())
    without = tuning.tune(tmp_path, record("none", tuned=first["chosen"], tuning=first), Progress())
    again = record("none", "alibi", tuned=without["chosen"], tuning=without)
    assert tuning.tune(tmp_path, again, Progress()) == first


def test_a_factor_counts_only_where_every_seed_ended() -> None:
    assert tuning.best({0.5: [3.0, 3.0], 1.0: [2.9], 2.0: [math.nan, 1.0]}) == 0.5
    assert tuning.best({1.0: [2.9]}) == 1.0 == tuning.best({})
    assert tuning.further({}, {0.5, 1.0, 2.0}) == ()


@pytest.mark.parametrize("split", [True, False])
def test_the_text_that_chooses_is_not_the_one_that_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: bool
) -> None:
    """Development text where there is some; where there is none, what chose is said to be it."""
    (tmp_path / "texts").mkdir()
    for n in range(24):
        text = f"the cat sees {n} dogs and one bird finds two or three of them " * 3
        (tmp_path / f"texts/{n}.txt").write_text(text, encoding="utf-8")
    model = ModelConfig(width=16, layers=1, heads=2, trained_length=8, position="none")
    config = TrainConfig(
        model=model,
        data=(str(tmp_path / "texts"),),
        tokenizer="bytes",
        steps=1,
        batch_size=2,
        dtype="float32",
        kernel="plain",
        threads=1,
        validation_fraction=0.3,
        out=str(tmp_path / "run"),
    )
    run = train(config)
    material = read_training_data(config, run.tokenizer)

    class Split:
        """TrainingData with text that may choose, which the reported text is not."""

        parts = ()
        development = replace(material.validation, tokens=material.validation.tokens[:60])
        validation, tokenizer = material.validation, material.tokenizer

    Split.development = replace(Split.development, starts=Split.development.starts[:1])
    monkeypatch.setattr(
        paired_run, "read_training_data", lambda *_: Split() if split else _Whole(material)
    )
    found = paired_run.choice_of(run)
    assert found["text"] == ("development" if split else "validation")
    reported = [r for r in paired_run.read(run.folder / "metrics.jsonl") if "final" in r][-1]
    same = found["validation_loss"] == pytest.approx(reported["validation_loss"], abs=1e-4)
    assert same == (not split)


class _Whole:
    """TrainingData of a text too short for development text."""

    development, parts = None, ()

    def __init__(self, material: Any) -> None:
        self.validation, self.tokenizer = material.validation, material.tokenizer


def test_nothing_learns_where_every_run_fails(tmp_path: Path, monkeypatch: Any) -> None:
    def run_cells(
        record: Any, cells: list[Cell], measure: Any, show: Any, cluster: Any
    ) -> list[Outcome]:
        return [Outcome(error="the loss is not a number") for _ in cells]

    monkeypatch.setattr(tuning, "run_cells", run_cells)
    found = tuning.tune(tmp_path, record("none"), Progress())
    assert found["chosen"] == {"none": 1.0}
    assert found["losses"] == {"none": {"0.5": [], "1": [], "2": []}}
    assert tables.rates(found).rows == [["none", "failed", "failed", "failed"]]
