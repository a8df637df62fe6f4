"""The learning rate against the embedding: planted losses turn the verdict."""

from __future__ import annotations

from typing import Any

import pytest

from wordorder.claims import rates
from wordorder.claims.claim import FAILS, HOLDS, NOT_TESTABLE, UNDECIDED, ClaimPlan, Verdict, judge
from wordorder.claims.rates import EMBEDDINGS, GAINED, LESS, TRIED, rates_of, spread
from wordorder.claims.text_models import text_model

PLAN = ClaimPlan(seeds=3)
(CLAIM,) = rates.CLAIMS
SPREAD = (0.0, 0.004, -0.004)  # of seeds


def planted(by_rate: float, by_embedding: float, **edge: float) -> dict[str, Any]:
    """Results of every job.

    Args:
        by_rate: the loss at a quarter and at four times the rate over that at the default.
        by_embedding: the loss of the worst embedding over that of the best.
        edge: the gain of an embedding at the largest rate.
    """
    found = {}
    for number, position in enumerate(EMBEDDINGS):
        for rate in rates_of(position):
            for seed in range(PLAN.seeds):
                off = {0.5: 0.25, 1.0: 0.0, 2.0: 0.25}.get(rate, 1.0) * by_rate
                if rate == rates_of(position)[-1] and position in edge:
                    off = -edge[position]
                at = number / (len(EMBEDDINGS) - 1) * by_embedding
                # Alike for all of a seed, but for a part that differs by embedding and rate.
                noise = SPREAD[seed] + SPREAD[(seed + number) % 3] * rate
                name = text_model(PLAN, position, seed, rate=rate).name
                found[name] = {"validation_loss": 4.5 + off + at + noise}
    return found


def verdict(results: dict[str, Any]) -> Verdict:
    return judge(CLAIM, CLAIM.read(PLAN, results), seeds=PLAN.seeds)


@pytest.mark.parametrize(
    ("by_rate", "by_embedding", "word"),
    [(0.4, 0.1, HOLDS), (0.1, 0.4, FAILS), (0.2, 0.2, UNDECIDED)],
)
def test_the_criterion_can_hold_and_can_fail(
    by_rate: float, by_embedding: float, word: str
) -> None:
    found = verdict(planted(by_rate, by_embedding))
    assert found.by_criterion == (word,)
    assert found.intervals["spread over rates"].mean == pytest.approx(by_rate, abs=0.02)
    assert found.intervals["spread over embeddings"].mean == pytest.approx(by_embedding, abs=0.02)


def test_an_embedding_whose_best_rate_was_not_tried_is_not_compared() -> None:
    found = verdict(planted(0.4, 0.1, alibi=0.05))
    assert found.word == NOT_TESTABLE
    assert found.intervals[GAINED].mean == pytest.approx(0.05, abs=0.01)
    assert verdict(planted(0.4, 0.1, alibi=0.01)).word == HOLDS
    assert verdict(planted(0.4, 0.1, **{TRIED: 0.05})).word == NOT_TESTABLE


def test_each_embedding_is_taken_at_its_best_rate() -> None:
    """Sinusoidal is best at twice the rate: its other losses do not count."""
    found = verdict(planted(0.4, 0.0, sinusoidal=0.01))
    assert found.intervals["spread over embeddings"].mean == pytest.approx(0.01, abs=0.015)


def test_a_rate_without_any_result_decides_nothing() -> None:
    results = planted(0.4, 0.1)
    for seed in range(PLAN.seeds):
        del results[text_model(PLAN, TRIED, seed, rate=4.0).name]
    assert verdict(results).word == verdict({}).word == UNDECIDED


def test_a_failed_run_leaves_the_other_seeds() -> None:
    results = planted(0.4, 0.1)
    del results[text_model(PLAN, TRIED, 0, rate=4.0).name]
    assert set(CLAIM.read(PLAN, results).quantities[LESS]) == {1, 2}


def test_the_ends_of_a_spread_are_chosen_by_their_means() -> None:
    """Seed 1 alone would choose others."""
    losses = [{0: 1.0, 1: 1.4}, {0: 1.5, 1: 1.3}, {0: 2.0, 1: 1.2}]
    assert spread(losses) == pytest.approx({0: 1.0, 1: -0.2})


def test_the_models_at_the_default_rates_are_those_of_other_claims() -> None:
    names = {work.name for work in CLAIM.works(PLAN)}
    assert text_model(PLAN, "rotary", 0).name in names
