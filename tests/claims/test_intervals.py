"""Intervals of the right kind: within what can be, and as wide as chance makes them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from wordorder.claims.claim import FAILS, HOLDS, Criterion
from wordorder.claims.intervals import (
    FEWEST_SEEDS,
    Contrast,
    Gains,
    Shares,
    estimate,
    values_of,
)
from wordorder.experiments.statistics import Interval, interval

TESTS = 26
# Chance of a share of so many simulated experiments: two standard errors of .95 are .022 with 400.
EXPERIMENTS = 400


def drawn(random: Generator, mean: float, alike: float, seeds: int) -> NDArray[np.float64]:
    """Shares of seeds whose own chances have this mean; two tests of one correlate by `alike`."""
    spread = 1 / alike - 1
    chances = random.beta(mean * spread, (1 - mean) * spread, seeds)
    return random.binomial(TESTS, chances) / TESTS


def shares_of(values: NDArray[np.float64]) -> Shares:
    return Shares(dict(enumerate(values.tolist())), TESTS)


def covers(found: Interval | None, truth: float) -> bool:
    assert found is not None and found.low is not None and found.high is not None
    return found.low <= truth <= found.high


CORNERS = [*itertools.product((0.05, 0.5), (0.02, 0.95)), (0.2, 0.3)]
ALL = [*itertools.product((0.05, 0.2, 0.5), (0.02, 0.3, 0.95))]


@pytest.mark.parametrize(
    ("seeds", "cases"),
    [
        (5, CORNERS),
        pytest.param(5, ALL, marks=pytest.mark.slow),
        pytest.param(10, ALL, marks=pytest.mark.slow),
    ],
)
def test_shares_are_covered_whether_seeds_agree_or_not(
    seeds: int, cases: list[tuple[float, float]]
) -> None:
    random, covered = default_rng(1), {}
    for mean, alike in cases:
        hits = [
            covers(estimate(shares_of(drawn(random, mean, alike, seeds))), mean)
            for _ in range(EXPERIMENTS // 2)
        ]
        covered[mean, alike] = sum(hits) / len(hits)
    assert 0.93 <= sum(covered.values()) / len(covered) <= 0.98, covered
    assert min(covered.values()) >= 0.89, covered  # two standard errors below .93


def test_t_intervals_of_shares_are_what_they_were_replaced_for() -> None:
    random, hits = default_rng(0), 0
    for _ in range(EXPERIMENTS):
        values = drawn(random, 0.1, 0.95, 5).tolist()
        hits += covers(interval(values), 0.1)
    assert hits / EXPERIMENTS < 0.6


@pytest.mark.parametrize(
    "values", [[0.0] * 5, [1.0] * 5, [0.0, 0.0, 0.0, 0.0, 1.0], [0.96, 1.0, 0.92, 1.0, 0.0]]
)
def test_a_share_stays_within_zero_and_one(values: list[float]) -> None:
    found = estimate(shares_of(np.array(values)))
    assert found is not None and found.low is not None and found.high is not None
    assert 0 <= found.low <= found.mean <= found.high <= 1
    assert found.high - found.low > 0.2  # five seeds do not say more


def test_more_tests_of_the_same_seeds_do_not_make_them_more() -> None:
    """What comes twice is no second test: the seeds, not the tests, are few."""
    few, many = (estimate(Shares(dict.fromkeys(range(5), 0.0), n)) for n in (26, 12_800))
    assert few is not None and many is not None
    assert few.high is not None and many.high is not None
    assert many.high > 0.9 * few.high


def test_few_seeds_have_no_interval() -> None:
    few = estimate(Shares(dict.fromkeys(range(FEWEST_SEEDS - 1), 0.0), TESTS))
    assert few is not None and few.low is None
    assert estimate(Shares({}, TESTS)) is None
    assert estimate(Contrast(((1.0, Shares({}, 9)), (1.0, Shares({0: 0.5}, 9))))) is None


@pytest.mark.parametrize("alike", [0.05, 0.5, 0.95])
def test_contrasts_are_covered_and_stay_where_they_can_be(alike: float) -> None:
    random, hits, mean = default_rng(2), 0, (0.6, 0.2)
    for _ in range(EXPERIMENTS // 2):
        one, other = (shares_of(drawn(random, m, alike, 5)) for m in mean)
        found = estimate(Contrast(((1.0, one), (-0.5, other))))
        assert found is not None and found.low is not None and found.high is not None
        assert -0.5 <= found.low <= found.mean <= found.high <= 1
        hits += covers(found, mean[0] - 0.5 * mean[1])
    assert hits / (EXPERIMENTS // 2) >= 0.919  # two standard errors below .95


def test_a_contrast_is_of_the_seeds_that_every_term_has() -> None:
    contrast = Contrast(((1.0, Shares({0: 0.5, 1: 1.0}, 4)), (-1.0, Shares({1: 0.25, 2: 0}, 4))))
    assert contrast.by_seed == {1: 0.75}
    assert values_of(contrast) == [0.75]


def test_gains_carry_the_documents_that_all_seeds_share() -> None:
    random, hits = default_rng(5), 0
    for _ in range(EXPERIMENTS):
        shared = random.normal(0, 0.02)  # of the documents, alike for every seed
        means = shared + random.normal(0, 0.005, 3)
        reach = 2.09 * 0.02
        found = Gains({s: Interval(m, m - reach, m + reach) for s, m in enumerate(means)})
        hits += covers(estimate(found), 0)
    assert 0.93 <= hits / EXPERIMENTS <= 0.99
    assert estimate(Gains({0: Interval(1.0, 0.9, 1.1)})) == Interval(1.0, None, None)


@pytest.mark.parametrize(
    ("criterion", "draw"),
    [
        (Criterion("x", least=0.0), lambda r: dict(enumerate(r.normal(0, 1, 3).tolist()))),
        (
            Criterion("x", most=0.2, kind="proportion"),
            lambda r: shares_of(drawn(r, 0.2, 0.3, 10)),
        ),
        (
            Criterion("x", least=0.0, kind="difference"),
            lambda r: Contrast(tuple((f, shares_of(drawn(r, 0.4, 0.3, 5))) for f in (1.0, -1.0))),
        ),
    ],
    ids=["mean", "proportion", "difference"],
)
def test_under_the_null_a_criterion_holds_or_fails_by_chance_alone(criterion, draw) -> None:  # type: ignore[no-untyped-def]
    """At its very threshold each is to come out in 2.5% of experiments, or less."""
    random = default_rng(6)
    words = [criterion.judge(draw(random)) for _ in range(EXPERIMENTS)]
    for word in (HOLDS, FAILS):
        assert words.count(word) / EXPERIMENTS <= 0.045  # two standard errors above
