"""What a claim measures, and the 95% interval that suits it.

    by seed     losses and their differences: Student's t over seeds
    Shares      shares of right answers: a beta-binomial model of seeds and distinct tests
    Contrast    sums and differences of shares: their intervals combined
    Gains       differences of losses on the same text: seeds and documents are both drawn
    values      what holds by construction: from the least to the most

Shares have the interval of `experiments/shares.py`, which lets the seeds' own shares differ by as
much as they do and never leaves 0 to 1. With fewer than five seeds that all agree nothing is known
of how much seeds differ, so that there is no interval.

Source: Zou & Donner 2008, "Construction of confidence limits about effect measures" (the interval
of a sum from those of its terms).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from wordorder.experiments.shares import share_interval
from wordorder.experiments.statistics import Interval, interval

Kind = Literal["mean", "proportion", "difference", "exact"]

FEWEST_SEEDS = 5


@dataclass(frozen=True)
class Shares:
    """Shares of right answers.

    Args:
        by_seed: one share for each seed, 0 to 1.
        tests: how many distinct tests are behind each share.
    """

    by_seed: Mapping[int, float]
    tests: int


@dataclass(frozen=True)
class Contrast:
    """A sum of shares.

    Args:
        terms: each with the factor it is multiplied by.
    """

    terms: tuple[tuple[float, Shares], ...]

    @property
    def by_seed(self) -> dict[int, float]:
        """The sum of each seed that every term has."""
        seeds = set.intersection(*(set(shares.by_seed) for _, shares in self.terms))
        return {s: sum(f * shares.by_seed[s] for f, shares in self.terms) for s in sorted(seeds)}


@dataclass(frozen=True)
class Gains:
    """What a loss is lowered by on the same text, with the interval over its documents, by seed."""

    intervals: Mapping[int, Interval]

    @property
    def by_seed(self) -> dict[int, float]:
        """The mean of each seed."""
        return {seed: found.mean for seed, found in self.intervals.items()}


Quantity = Mapping[int, float] | Sequence[float] | Shares | Contrast | Gains


def values_of(quantity: Quantity) -> list[float]:
    """Return the values of a quantity, in the order of seeds."""
    if isinstance(quantity, Shares | Contrast | Gains):
        quantity = quantity.by_seed
    return list(quantity.values()) if isinstance(quantity, Mapping) else list(quantity)


def estimate(quantity: Quantity, *, exact: bool = False) -> Interval | None:
    """Return the mean of a quantity and its interval; None where nothing was measured.

    Args:
        exact: it holds by construction: its interval goes from the least value to the most.
    """
    values = values_of(quantity)
    if isinstance(quantity, Contrast):
        return _of_contrast(quantity) if values else None
    if not values:
        return None
    if isinstance(quantity, Shares):
        return _of_shares(values, quantity.tests)
    if exact:
        return Interval(math.fsum(values) / len(values), min(values), max(values))
    over_seeds = interval(values)
    return _widened(over_seeds, quantity) if isinstance(quantity, Gains) else over_seeds


def kind_of(quantity: Quantity) -> Kind:
    """Return how a quantity is judged where it does not hold by construction."""
    if isinstance(quantity, Shares):
        return "proportion"
    return "difference" if isinstance(quantity, Contrast) else "mean"


def _of_shares(shares: Sequence[float], tests: int) -> Interval:
    """Return the mean share over seeds and its interval; fewer than five seeds have none."""
    mean = math.fsum(shares) / len(shares)
    ends = share_interval(shares, tests) if len(shares) >= FEWEST_SEEDS else None
    if ends is None:
        return Interval(mean, None, None)
    low, high = ends
    return Interval(mean, min(low, mean), max(high, mean))


def _widened(over_seeds: Interval, gains: Gains) -> Interval:
    """Return an interval over seeds, with what the documents leave uncertain."""
    if over_seeds.high is None:
        return over_seeds
    reaches = [
        found.high - found.mean for found in gains.intervals.values() if found.high is not None
    ]
    if not reaches:
        return Interval(over_seeds.mean, None, None)
    # The seeds read the same documents, so that these do not average out over seeds.
    reach = math.hypot(over_seeds.high - over_seeds.mean, sum(reaches) / len(reaches))
    return Interval(over_seeds.mean, over_seeds.mean - reach, over_seeds.mean + reach)


def _of_contrast(contrast: Contrast) -> Interval:
    """Return the interval of a sum from those of its terms, which it never leaves."""
    terms = [(f, estimate(shares)) for f, shares in contrast.terms]
    mean, below, above = 0.0, 0.0, 0.0
    for factor, found in terms:
        assert found is not None
        mean += factor * found.mean
        if found.low is None or found.high is None:
            below = above = math.nan
            continue
        ends = factor * found.low, factor * found.high
        below += (factor * found.mean - min(ends)) ** 2
        above += (max(ends) - factor * found.mean) ** 2
    if math.isnan(below):
        return Interval(mean, None, None)
    return Interval(mean, mean - math.sqrt(below), mean + math.sqrt(above))
