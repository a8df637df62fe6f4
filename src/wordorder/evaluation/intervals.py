"""Means of clustered data, with 95% intervals that hold for few clusters of unequal size.

Losses of tokens in one document are correlated, so the uncertainty of a mean depends on the number
of documents, not of tokens. The standard error is the jackknife's: how far the mean moves when one
document is left out. The interval is Student's t with one degree of freedom less than the
*effective* number of documents (Kish), which is small if a few documents hold most tokens.

With fewer than four effective documents, blocks of the text take their place: the interval then
covers more of the same text, not other texts.

`tests/evaluation/test_simulated_intervals.py` simulates the coverage: 93 to 97%.

Not here: intervals over seeds, and tests: see experiments/statistics.py.

Source: Cochran 1977, Sampling Techniques, section 6.17 (the jackknife of a ratio); Kish 1965,
Survey Sampling, section 11.7 (the effective number); Wilson 1927, "Probable inference".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
NORMAL = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)  # 1.96
# The standard error of fewer clusters is itself too uncertain: with three, t is 4.3.
FEWEST_CLUSTERS = 4
# A text of fewer documents is cut into this many blocks: t is then 2.1, close to its limit of 1.96,
# and a block still has many tokens.
BLOCKS = 16


class Uncertain(Protocol):
    """A mean over clusters with its standard error; both are None with one cluster."""

    @property
    def standard_error(self) -> float | None: ...
    @property
    def degrees_of_freedom(self) -> float | None: ...


@dataclass(frozen=True)
class Estimate:
    """A mean and its uncertainty.

    Args:
        mean: the weighted mean over clusters.
        standard_error: over clusters; None with one cluster.
        degrees_of_freedom: one less than the effective number of clusters; None with one cluster.
    """

    mean: float
    standard_error: float | None = None
    degrees_of_freedom: float | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval; None with one cluster."""
        return interval_around(self.mean, self)


def half_width(measured: Uncertain) -> float | None:
    """Return half the width of the 95% t-interval; None without a standard error."""
    error, degrees = measured.standard_error, measured.degrees_of_freedom
    if error is None or degrees is None:
        return None
    return error * t_quantile((1 + CONFIDENCE) / 2, degrees)


def interval_around(value: float, measured: Uncertain) -> tuple[float, float] | None:
    """Return the 95% t-interval around a value; None without a standard error."""
    half = half_width(measured)
    return None if half is None else (value - half, value + half)


def with_half_width(value: str, measured: Uncertain, digits: int) -> str:
    """Return a printed value with half its 95% interval appended: `3.5012 ± 0.0310`."""
    half = half_width(measured)
    return value if half is None else f"{value} ± {half:.{digits}f}"


def ratio(sums: ArrayLike, counts: ArrayLike) -> Estimate:
    """Return the mean per item of clustered items, with its jackknife error.

    Args:
        sums: (clusters,) the sum of each cluster's items.
        counts: (clusters,) the number of items in each; empty clusters are ignored.
    """
    totals, sizes = np.asarray(sums, np.float64), np.asarray(counts, np.float64)
    totals, sizes = totals[sizes > 0], sizes[sizes > 0]
    size, clusters = sizes.sum(), len(sizes)
    mean = float(totals.sum() / size)
    if clusters < 2 or not math.isfinite(mean):
        return Estimate(mean)
    # How far the mean moves without each cluster.
    moved = (totals - mean * sizes) / (size - sizes)
    error = math.sqrt((clusters - 1) / clusters * float(moved @ moved))
    # Below one degree of freedom (one cluster holds nearly all items) t intervals are meaningless.
    return Estimate(mean, error, max(1.0, effective_number(sizes) - 1))


def mean_of(values: torch.Tensor, clusters: ArrayLike | None = None) -> Estimate:
    """Return the mean of values of equal weight.

    Args:
        values: (values,) one number each.
        clusters: (values,) the cluster of each value; None: all values are independent.
    """
    numbers = values.double().cpu().numpy()
    if clusters is None:
        return ratio(numbers, np.ones(len(numbers)))
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    return ratio(np.bincount(index, numbers), np.bincount(index))


def effective_number(sizes: ArrayLike) -> float:
    """Return the number of equal clusters with the same variance: (sum n)^2 / sum n^2."""
    size = np.asarray(sizes, np.float64)
    return float(size.sum() ** 2 / (size @ size)) if size.any() else 0.0


def blocks_of(sizes: ArrayLike) -> NDArray[np.int64]:
    """Return how many blocks each document is cut into: one each if there are enough documents.

    Args:
        sizes: (documents,) the number of items (tokens, or windows) in each.
    """
    size = np.asarray(sizes, np.int64)
    if effective_number(size) >= FEWEST_CLUSTERS:
        return np.minimum(size, 1)
    return np.minimum(size, np.maximum(1, np.rint(BLOCKS * size / max(1, size.sum()))).astype(int))


def clusters_of(documents: ArrayLike) -> NDArray[np.int64]:
    """Return the cluster (items,) of each item: its document, or a block of its document.

    Args:
        documents: (items,) the document of each item; items of a document are in text order.
    """
    _, index, sizes = np.unique(np.asarray(documents), return_inverse=True, return_counts=True)
    blocks = blocks_of(sizes)
    place = np.empty(len(index), np.int64)  # the index of each item within its document
    place[np.argsort(index, kind="stable")] = np.arange(len(index)) - np.repeat(
        np.cumsum(sizes) - sizes, sizes
    )
    before = np.cumsum(blocks) - blocks
    return before[index] + place * blocks[index] // sizes[index]


def wilson(share: float, count: float) -> tuple[float, float]:
    """Return Wilson's 95% interval of a proportion of independent trials, within 0 and 1."""
    z = NORMAL
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    spread = math.sqrt(share * (1 - share) / count + z * z / (4 * count**2))
    half = z / (1 + z * z / count) * spread
    return max(0.0, middle - half), min(1.0, middle + half)


def share_interval(share: Estimate, clusters: int) -> tuple[float, float]:
    """Return the 95% interval of a proportion over clusters, within 0 and 1.

    Wilson's interval with an effective number of trials, estimated from the variance between
    clusters: five tokens of a key that are right or wrong together count as one. Student's t allows
    for the poor estimate of that variance from few clusters (Korn and Graubard 1998). At 0 and 1
    the variance is zero, and each cluster counts as one trial. Coverage falls below 93% if the
    proportion is near 0 or 1 and clusters are few.

    Args:
        share: the proportion, as a mean over clusters.
        clusters: their number.
    """
    half = half_width(share) or 0.0
    varies = half > 1e-9  # more than rounding
    trials = share.mean * (1 - share.mean) * (NORMAL / half) ** 2 if varies else clusters
    return wilson(share.mean, trials)


@lru_cache(maxsize=1024)
def t_quantile(probability: float, degrees_of_freedom: float) -> float:
    """Return the quantile of Student's t, to eight digits.

    Args:
        probability: above 0.5 and below 1.
        degrees_of_freedom: at least 1, not necessarily an integer.
    """
    low, high = 0.0, 1.0
    while _upper_tail(high, degrees_of_freedom) > 1 - probability:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        if _upper_tail(middle, degrees_of_freedom) > 1 - probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _upper_tail(t: float, degrees: float) -> float:
    """Return the probability that Student's t exceeds `t`, which is at least 0."""
    return _incomplete_beta(degrees / (degrees + t * t), degrees / 2, 0.5) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function (NIST DLMF 8.17.22, a continued fraction)."""
    if x >= 1.0:
        return 1.0
    if x > (a + 1) / (a + b + 2):  # use the symmetry, where the fraction converges faster
        return 1.0 - _incomplete_beta(1 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(log_front + a * math.log(x) + b * math.log1p(-x)) / a
    # Lentz's method evaluates the fraction term by term, as a ratio of numerator and denominator.
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 400):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d, c = 1 / (1 + term * d), 1 + term / c
            value *= d * c
        if abs(d * c - 1) < 1e-14:
            break
    return front * value
