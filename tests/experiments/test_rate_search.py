"""The search for learning rates: what is tried, how flat the best is, and what is suggested."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_config import TEXT, small_config

from wordorder.cli import find_learning_rate
from wordorder.cli.options.train import read_options
from wordorder.errors import BadInput, Failed
from wordorder.experiments import calibration, rate_search
from wordorder.experiments.calibration import Calibration, config_of
from wordorder.experiments.jobs import Job, Outcome
from wordorder.experiments.rate_search import PICTURE, RateSearch, search
from wordorder.model import ModelConfig
from wordorder.training.compute import Compute
from wordorder.training.config import TrainConfig
from wordorder.training.initial_run import with_initial_run
from wordorder.training.start import train

SMALL = ModelConfig(width=16, layers=1, heads=2, trained_length=16)
Loss = Callable[[float, int], float | None]


@pytest.fixture
def searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RateSearch]:
    """Return a function that searches with losses by factor and seed instead of training."""
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"line {n} of a small text, {n * n}" for n in range(400)))

    def find(loss: Loss, jobs: list[Job] | None = None, **options: Any) -> RateSearch:
        settled = Calibration(Compute("cpu", 1), 2, 0.1, 0.1)
        monkeypatch.setattr(rate_search, "calibrate", lambda config, runs: settled)

        def run(left: list[Job], *, plan: Callable[..., tuple[str, float]], **_: Any) -> list:
            plan(left)
            if jobs is not None:
                jobs.extend(left)
            outcomes = []
            for job in left:
                factor = job.settings["training"]["learning_rate"] / 0.01
                value = loss(factor, int(job.name[-1]))
                result = {"validation_loss": value, "text": "development"}
                failed = Outcome(error="the loss is not finite")
                outcomes.append(failed if value is None else Outcome(result=result))
            return outcomes

        monkeypatch.setattr(rate_search, "run_what_is_left", run)
        values = {"steps": 1000, "out": str(tmp_path / "run"), "tokenizer": "bytes", **options}
        return search(TrainConfig(**{"model": SMALL, "data": (str(text),), **values}))

    return find


def bowl(best: float, *, steepness: float = 0.1) -> Loss:
    return lambda factor, seed: 4 + seed / 10 + steepness * math.log2(factor / best) ** 2


def test_whole_short_runs_of_the_same_batches_are_compared(
    searched: Callable[..., RateSearch],
) -> None:
    jobs: list[Job] = []
    found = searched(bowl(1.0), jobs)
    assert found.steps == 250 and found.run_steps == 1000
    assert sorted(found.losses) == [0.25, 0.5, 1.0, 2.0, 4.0]
    assert len({job.settings["training"]["seed"] for job in jobs}) == 2
    assert {job.settings["training"]["steps"] for job in jobs} == {250}
    rates = [job.settings["training"] for job in jobs]
    assert {r["matrix_learning_rate"] / r["learning_rate"] for r in rates} == {2.0}
    assert (found.folder / PICTURE).exists()
    assert (found.best, found.as_good, found.suggested) == (1.0, [1.0], 1.0)


def test_the_dropout_is_that_of_the_long_run(searched: Callable[..., RateSearch]) -> None:
    jobs: list[Job] = []
    searched(bowl(1.0), jobs, steps=4000)
    assert jobs[0].settings["model"]["dropout"] == 0.3  # more than seven passes


def test_the_tokens_are_those_of_the_run_that_is_fine_tuned(
    searched: Callable[..., RateSearch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "first.txt").write_text(TEXT)
    config = small_config(tmp_path / "first.txt", tmp_path / "first")
    model = replace(config.model, vocabulary_size=270)
    first = train(replace(config, model=model, tokenizer="bpe"))
    jobs: list[Job] = []
    searched(bowl(1.0), jobs, init=str(first.folder), tokenizer="bpe")
    assert jobs[0].settings["model"]["vocabulary_size"] == 270
    config = config_of(jobs[0].settings)
    assert with_initial_run(config, trust=False)[0].model == config.model
    texts = []
    monkeypatch.setattr(calibration, "measure", lambda _, model, *__: Compute("cpu", 1))
    monkeypatch.setattr(calibration, "SECONDS_TIMED", 0)
    at_rest = calibration._at_rest
    monkeypatch.setattr(
        calibration, "_at_rest", lambda *given: texts.append(given[2]) or at_rest(*given)
    )
    calibration.time_baseline(jobs[0].settings, lambda *_: None)
    assert texts[0].tokenizer.content_hash == first.tokenizer.content_hash


def test_the_search_goes_on_past_an_edge(searched: Callable[..., RateSearch]) -> None:
    found = searched(bowl(8.0))
    assert found.best == found.suggested == 8.0
    assert found.rates(8.0) == (0.08, 0.16)
    assert "at the edge" in find_learning_rate.verdict(found)


def test_rates_as_good_as_the_best_are_kept(searched: Callable[..., RateSearch]) -> None:
    found = searched(bowl(2.0, steepness=0.005))
    assert (found.best, found.suggested) == (2.0, 1.0)
    assert found.as_good == [1.0, 2.0, 4.0]
    assert "keep the present rates" in find_learning_rate.verdict(found)


def test_seeds_that_disagree_make_rates_as_good(searched: Callable[..., RateSearch]) -> None:
    losses = {1.0: (4.0, 4.0), 2.0: (3.9, 4.05)}
    found = searched(lambda factor, seed: losses.get(factor, (5.0, 5.0))[seed])
    assert (found.best, found.as_good, found.suggested) == (2.0, [1.0, 2.0], 1.0)


def test_rates_between_two_that_are_as_good_are_not_called_so(
    searched: Callable[..., RateSearch],
) -> None:
    losses = {0.5: 4.01, 1.0: 4.11, 2.0: 4.01}
    found = searched(lambda factor, seed: losses.get(factor, 5.0))
    assert "; with 0.5x and 2x the loss is within" in find_learning_rate.verdict(found)


def test_runs_that_fail_are_named_and_never_suggested(
    searched: Callable[..., RateSearch],
) -> None:
    found = searched(lambda factor, seed: None if factor > 1 else bowl(4.0)(factor, seed))
    assert found.suggested == 1.0
    table = find_learning_rate.table(found).terminal()
    assert "4x" in str(table.columns[0]._cells) and "failed" in str(table.columns[3]._cells)
    with pytest.raises(Failed) as caught:
        searched(lambda factor, seed: None, overwrite=True)
    assert caught.value.code == "experiments.search-without-result"
    assert "the loss is not finite" in str(caught.value)


def test_a_search_with_other_settings_is_not_continued(
    searched: Callable[..., RateSearch],
) -> None:
    searched(bowl(1.0))
    searched(bowl(1.0))
    with pytest.raises(BadInput) as caught:
        searched(bowl(1.0), steps=999)
    assert caught.value.code == "experiments.other-search"


def test_a_search_is_continued_where_its_text_was_moved(
    searched: Callable[..., RateSearch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[Compute] = []
    monkeypatch.setattr(rate_search, "warn_of_slow_dtype", lambda how, say: checked.append(how))
    searched(bowl(1.0))
    assert not checked
    moved = (tmp_path / "text.txt").rename(tmp_path / "moved.txt")
    searched(bowl(1.0), data=(str(moved),))
    assert len(checked) == 1
    moved.write_text(moved.read_text().upper())
    with pytest.raises(BadInput) as caught:
        searched(bowl(1.0), data=(str(moved),))
    assert caught.value.code == "experiments.other-search"


def test_the_command_to_go_on_with_has_the_rates(searched: Callable[..., RateSearch]) -> None:
    found = searched(bowl(4.0))
    typed = "--find_learning_rate --overwrite --learning-rate 0.01 --steps 1000"
    typed += " --matrix-learning-rate=0.02"
    assert find_learning_rate.next_command(found, typed.split()) == (
        "wordorder train --steps 1000 --learning-rate 0.04 --matrix-learning-rate 0.08"
    )


@pytest.mark.parametrize("typed", ["--ranks 2", "--shard", "--resume runs/x", ""])
def test_what_a_search_cannot_do_is_refused(typed: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_options(["--find-learning-rate", *typed.split()])
    assert caught.value.code == ("cli.search-option" if typed else "cli.search-without-size")
