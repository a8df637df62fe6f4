"""The search of LongRoPE, on losses that are known by formula."""

from __future__ import annotations

import numpy as np

from wordorder.extension.longrope import Factors, non_decreasing, search

BEST = np.array([1.0, 1.3, 2.0, 4.0, 7.5, 8.0])
START = [(1.0,) * 6, (8.0,) * 6]


def loss(divisors: Factors) -> float:
    return float((np.log(divisors) - np.log(BEST)).__pow__(2).sum())


def test_search_comes_near_the_best_divisors() -> None:
    found = search(loss, START, 8.0, rounds=30)
    assert loss(found) < 0.05 * min(map(loss, START))


def test_search_is_never_worse_than_what_it_begins_with() -> None:
    start = [*START, tuple(BEST)]
    assert search(loss, start, 8.0, rounds=1) == tuple(BEST)


def test_same_seed_same_divisors() -> None:
    one, two, other = (search(loss, START, 8.0, rounds=3, seed=seed) for seed in (1, 1, 2))
    assert one == two != other


def test_candidates_never_fall_and_stay_between_one_and_the_widest() -> None:
    seen: list[Factors] = []

    def noted(divisors: Factors) -> float:
        seen.append(divisors)
        return loss(divisors)

    search(noted, START, 8.0, rounds=6)
    for divisors in seen:
        assert list(divisors) == sorted(divisors)
        assert 1.0 <= divisors[0] <= divisors[-1] <= 1.25 * 8.0
    assert len(set(seen)) == len(seen)  # none is measured twice


def test_never_falling() -> None:
    assert non_decreasing(np.array([1.0, 3.0, 2.004, 5.0])) == (1.0, 3.0, 3.0, 5.0)
