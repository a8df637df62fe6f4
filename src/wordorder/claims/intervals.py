"""The quantities that claims measure, with a suitable 95% interval for each.

    by seed     losses and their differences: Student's t over seeds
    Shares      proportions of correct answers: a beta-binomial model of seeds and distinct tests
    Contrast    sums and differences of proportions: their intervals combined
    Gains       differences of losses on the same text: both seeds and documents are samples
    values      exact quantities: the range

Shares have the interval of `experiments/shares.py`, which models the variance between seeds and
stays within 0 and 1. Fewer than five seeds say too little about that variance, so they have no
interval.

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
    """Proportions of correct answers.

    Args:
        by_seed: one proportion for each seed, 0 to 1.
        tests: the number of distinct tests behind each.
    """

    by_seed: Mapping[int, float]
    tests: int


@dataclass(frozen=True)
class Contrast:
    """A linear combination of proportions.

    Args:
        terms: factors and proportions.
    """

    terms: tuple[tuple[float, Shares], ...]

    @property
    def by_seed(self) -> dict[int, float]:
        """The sum for each seed that all terms have."""
        seeds = set.intersection(*(set(shares.by_seed) for _, shares in self.terms))
        return {s: sum(f * shares.by_seed[s] for f, shares in self.terms) for s in sorted(seeds)}


@dataclass(frozen=True)
class Gains:
    """Reductions of the loss on the same text by seed, with intervals over its documents."""

    intervals: Mapping[int, Interval]

    @property
    def by_seed(self) -> dict[int, float]:
        """The mean of each seed."""
        return {seed: interval.mean for seed, interval in self.intervals.items()}


Quantity = Mapping[int, float] | Sequence[float] | Shares | Contrast | Gains


def values_of(quantity: Quantity) -> list[float]:
    """Return the values of a quantity, in the order of seeds."""
    if isinstance(quantity, Shares | Contrast | Gains):
        quantity = quantity.by_seed
    return list(quantity.values()) if isinstance(quantity, Mapping) else list(quantity)


def estimate(quantity: Quantity, *, exact: bool = False) -> Interval | None:
    """Return the mean of a quantity and its interval; None if nothing was measured.

    Args:
        exact: whether it holds by construction; its interval is then the range of values.
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
    """Return the kind of a quantity that does not hold by construction."""
    if isinstance(quantity, Shares):
        return "proportion"
    return "difference" if isinstance(quantity, Contrast) else "mean"


def _of_shares(shares: Sequence[float], tests: int) -> Interval:
    """Return the mean proportion over seeds and its interval; None below five seeds."""
    mean = math.fsum(shares) / len(shares)
    ends = share_interval(shares, tests) if len(shares) >= FEWEST_SEEDS else None
    if ends is None:
        return Interval(mean, None, None)
    low, high = ends
    return Interval(mean, min(low, mean), max(high, mean))


def _widened(over_seeds: Interval, gains: Gains) -> Interval:
    """Return an interval over seeds, widened by the uncertainty over documents."""
    if over_seeds.high is None:
        return over_seeds
    reaches = [gain.high - gain.mean for gain in gains.intervals.values() if gain.high is not None]
    if not reaches:
        return Interval(over_seeds.mean, None, None)
    # All seeds use the same documents, so their variance does not average out over seeds.
    reach = math.hypot(over_seeds.high - over_seeds.mean, sum(reaches) / len(reaches))
    return Interval(over_seeds.mean, over_seeds.mean - reach, over_seeds.mean + reach)


def _of_contrast(contrast: Contrast) -> Interval:
    """Return the interval of a sum from those of its terms."""
    terms = [(f, estimate(shares)) for f, shares in contrast.terms]
    mean, below, above = 0.0, 0.0, 0.0
    for factor, part in terms:
        assert part is not None
        mean += factor * part.mean
        if part.low is None or part.high is None:
            below = above = math.nan
            continue
        ends = factor * part.low, factor * part.high
        below += (factor * part.mean - min(ends)) ** 2
        above += (max(ends) - factor * part.mean) ** 2
    if math.isnan(below):
        return Interval(mean, None, None)
    return Interval(mean, mean - math.sqrt(below), mean + math.sqrt(above))
