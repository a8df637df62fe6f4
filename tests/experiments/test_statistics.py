"""Statistics on simulated runs whose truth is known: claims are right as often as they say."""

from __future__ import annotations

import itertools
import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import stats

from wordorder.errors import BadInput
from wordorder.experiments.statistics import (
    ByDocument,
    Difference,
    Spread,
    difference,
    differs,
    holm,
    interval,
)

SIMULATIONS = 2000
PROBABILITIES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@pytest.mark.parametrize("seeds", [3, 6])
def test_the_interval_covers_the_truth_as_often_as_it_says(seeds: int) -> None:
    """What a seed does to both cancels, however large; the truth is a difference of 0.3."""
    random = np.random.default_rng(seeds)
    covered = 0
    for _ in range(SIMULATIONS):
        baseline = random.normal(2, 5, seeds)
        paired = baseline + random.normal(0.3, 0.1, seeds)
        values = paired - baseline
        found = interval(values.tolist())
        covered += found.low <= 0.3 <= found.high
    assert 0.93 <= covered / SIMULATIONS <= 0.97


def families(effects: list[float], seeds: int, count: int) -> np.ndarray:
    """How many times each of several comparisons with one baseline is declared a difference."""
    random = np.random.default_rng(seeds)
    declared = []
    for _ in range(count):
        shared = random.normal(2, 1, seeds)  # what a seed does to every embedding
        baseline = shared + random.normal(0, 0.05, seeds)
        found = [
            difference(shared + effect + random.normal(0, 0.05, seeds), baseline)
            for effect in effects
        ]
        adjusted = holm([each.p for each in found])
        declared.append([differs(*pair) for pair in zip(found, adjusted, strict=True)])
    return np.array(declared)


def test_planted_equality_is_not_declared_a_difference() -> None:
    """Five comparisons share one baseline: in at most about 5% of families is any declared."""
    declared = families([0.0] * 5, seeds=3, count=SIMULATIONS)
    assert 0.005 < declared.any(1).mean() < 0.06


def test_a_planted_difference_is_found_among_equalities() -> None:
    declared = families([0.0, 0.0, 0.6, 0.0, 0.0], seeds=4, count=400)
    assert declared[:, 2].mean() > 0.9
    assert declared[:, [0, 1, 3, 4]].any(1).mean() < 0.06


def test_a_difference_by_hand() -> None:
    """Differences 1, 2, 3: mean 2, error 1/sqrt(3); t = 3.4641, whose p at 2 degrees is 0.0742."""
    found = difference([11, 22, 33], [10, 20, 30])
    reach = 4.302653 / math.sqrt(3)
    assert (found.mean, found.low, found.high) == pytest.approx((2, 2 - reach, 2 + reach))
    assert found.p == pytest.approx(1 - math.sqrt(12 / 14))  # closed form at 2 degrees of freedom
    assert (found.seeds, found.values, found.p_permutation) == (3, (1.0, 2.0, 3.0), None)
    assert not differs(found, found.p)


@pytest.mark.parametrize("seeds", [6, 7])
def test_the_permutation_test_is_counting_every_flip(seeds: int) -> None:
    random = np.random.default_rng(seeds)
    for _ in range(3):
        values = random.normal(0.4, 0.5, seeds).tolist()
        flips = itertools.product((1, -1), repeat=seeds)
        sums = [abs(sum(s * v for s, v in zip(flip, values, strict=True))) for flip in flips]
        as_far = sum(each >= abs(sum(values)) - 1e-9 for each in sums)
        found = difference(values, [0.0] * seeds)
        assert found.p_permutation == pytest.approx(as_far / 2**seeds)


def test_six_differences_of_one_sign_are_the_least_likely_of_64() -> None:
    assert difference([1, 2, 3, 4, 5, 6], [0] * 6).p_permutation == pytest.approx(2 / 64)


def test_five_seeds_have_no_permutation_test() -> None:
    assert difference([1, 2, 3, 4, 5], [0] * 5).p_permutation is None


def test_one_seed_has_no_interval_and_claims_nothing() -> None:
    found = difference([3.0], [1.0])
    assert found == Difference(2.0, None, None, None, None, 1, (2.0,))
    assert not differs(found, None)
    assert interval([3.0]).low is None


@pytest.mark.parametrize("seeds", [2, 3, 6])
def test_equal_differences_have_a_point_for_an_interval(seeds: int) -> None:
    """No warning, no NaN: nothing differs from itself, and what always differs by 1 differs."""
    same = difference([2.5] * seeds, [2.5] * seeds)
    assert (same.mean, same.low, same.high, same.p) == (0, 0, 0, 1)
    assert same.p_permutation in (None, 1.0)
    assert not differs(same, same.p)
    other = difference([2.0] * seeds, [1.0] * seeds)
    assert (other.mean, other.low, other.high, other.p) == (1, 1, 1, 0)
    assert differs(other, other.p)


def test_nothing_is_claimed_where_the_interval_holds_zero_or_p_is_large() -> None:
    def found(low: float, high: float) -> Difference:
        return Difference(0.5, low, high, 0.01, None, 3, ())

    assert differs(found(0.1, 0.9), 0.049)
    assert differs(found(-0.9, -0.1), 0.049)
    assert not differs(found(0.1, 0.9), 0.05)
    assert not differs(found(-0.1, 0.9), 0.001)
    assert not differs(found(0.0, 0.9), 0.001)


def test_holm_by_hand() -> None:
    """0.005 x 4; 0.01 x 3; 0.03 x 2; 0.04 x 1, which may not fall below the one before it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.4]) == pytest.approx([0.9, 0.8])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@hypothesis.given(p_values=PROBABILITIES)
def test_holm_is_between_p_and_bonferroni_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for p, after in zip(p_values, adjusted, strict=True):
        assert p <= after <= min(1.0, len(p_values) * p)
    for first, second in itertools.combinations(range(len(p_values)), 2):
        if p_values[first] <= p_values[second]:
            assert adjusted[first] <= adjusted[second]
    assert min(adjusted) == min(1.0, len(p_values) * min(p_values))


@pytest.mark.parametrize(
    ("values", "baseline", "message"),
    [
        (
            [1, 2],
            [1],
            "2 values and 1 values of the baseline cannot be paired: give one of each for every "
            "seed",
        ),
        ([], [], "no values to average: at least one run must succeed"),
        ([1, math.nan], [1, 2], "a value is NaN or infinite: leave out failed runs"),
    ],
)
def test_what_makes_no_pairs_is_refused(
    values: list[float], baseline: list[float], message: str
) -> None:
    with pytest.raises(BadInput) as caught:
        difference(values, baseline)
    assert str(caught.value) == message


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.9, 0.05, 0.05), (1.0, 0.3, 0.3, 0.3, 0.1)])
def test_few_documents_do_not_tell_how_much_others_differ(weights: tuple[float, ...]) -> None:
    """Five of unequal size count for 3.1: the interval is that of the seeds."""
    rows = ByDocument(
        tuple(tuple(x + 0.1 * i for i in range(len(weights))) for x in (1, 2, 4)), weights
    )
    found = difference([1.0, 2.0, 4.0], [0.0] * 3, rows)
    assert not found.over_documents
    assert (found.low, found.high) == (interval([1, 2, 4]).low, interval([1, 2, 4]).high)


def test_the_quantile_of_two_variances_is_their_weighed_mean() -> None:
    """3 seeds and 8 documents: t is 4.303 and 2.365; variances 1 and 3 of the mean."""
    spread = Spread(3, 3.0, document_variance=3.0, document_freedom=7.0)
    expected = (1 * stats.t.ppf(0.975, 2) + 3 * stats.t.ppf(0.975, 7)) / 4
    assert stats.t.ppf(0.975, spread.freedom) == pytest.approx(expected)
    assert Spread(3, 0.0, 3.0, 7.0).freedom == 7
    assert Spread(3, 3.0).freedom == 2


def test_documents_of_other_seeds_and_what_is_no_p_value_are_refused() -> None:
    with pytest.raises(BadInput) as caught:
        difference([1.0, 2.0, 3.0], [0.0] * 3, ByDocument(((0.0,) * 4,) * 2, (1.0,) * 4))
    assert caught.value.code == "experiments.other-documents"
    with pytest.raises(BadInput) as caught:
        holm([0.01, math.nan, 0.2])
    assert caught.value.code == "experiments.no-p-value"
