"""Means of what comes in clusters, with 95% intervals that hold for few and unequal clusters.

The tokens of one document are easy or hard together, so a mean over tokens is as uncertain as the
number of documents makes it. Its standard error is the jackknife's: how far the mean moves when a
document is left out. Its interval is Student's t with one degree of freedom less than the
*effective* number of documents (Kish), which is small where a few documents hold most tokens.

Where a few documents hold nearly everything (fewer than four effective ones), blocks of the text
stand for documents: the interval then speaks of more of the same text, not of other texts.

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
# An error from fewer clusters would itself be a guess: with three, t is 4.3.
FEWEST_CLUSTERS = 4
# A text of fewer documents is cut into this many: t is then 2.1, near what it is with many more,
# and a block is still long enough to say something.
BLOCKS = 16


class Uncertain(Protocol):
    """What was measured over clusters, with its error; None with one cluster."""

    @property
    def standard_error(self) -> float | None: ...
    @property
    def degrees_of_freedom(self) -> float | None: ...


@dataclass(frozen=True)
class Estimate:
    """A mean and how certain it is.

    Args:
        mean: of what was measured.
        standard_error: over clusters; None with one cluster.
        degrees_of_freedom: one less than the effective number of clusters; None with one cluster.
    """

    mean: float
    standard_error: float | None = None
    degrees_of_freedom: float | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval; None where there is none."""
        return interval_around(self.mean, self)


def half_width(measured: Uncertain) -> float | None:
    """Return half of the 95% t-interval of what was measured; None where it has no error."""
    error, degrees = measured.standard_error, measured.degrees_of_freedom
    if error is None or degrees is None:
        return None
    return error * t_quantile((1 + CONFIDENCE) / 2, degrees)


def interval_around(value: float, measured: Uncertain) -> tuple[float, float] | None:
    """Return the 95% t-interval of a value that was measured; None where it has no error."""
    half = half_width(measured)
    return None if half is None else (value - half, value + half)


def with_half_width(value: str, measured: Uncertain, digits: int) -> str:
    """Return a value as printed, followed by half of its 95% interval: `3.5012 ± 0.0310`."""
    half = half_width(measured)
    return value if half is None else f"{value} ± {half:.{digits}f}"


def ratio(sums: ArrayLike, counts: ArrayLike) -> Estimate:
    """Return the mean per item of clusters, by the jackknife over clusters.

    Args:
        sums: (clusters,) the sum of each cluster.
        counts: (clusters,) how many items each holds; those without any are left out.
    """
    totals, sizes = np.asarray(sums, np.float64), np.asarray(counts, np.float64)
    totals, sizes = totals[sizes > 0], sizes[sizes > 0]
    size, clusters = sizes.sum(), len(sizes)
    mean = float(totals.sum() / size)
    if clusters < 2 or not math.isfinite(mean):
        return Estimate(mean)
    moved = (totals - mean * sizes) / (size - sizes)  # the mean without each cluster, less the mean
    error = math.sqrt((clusters - 1) / clusters * float(moved @ moved))
    # Below one degree of freedom (a cluster with nearly all items) no interval means anything.
    return Estimate(mean, error, max(1.0, effective_number(sizes) - 1))


def mean_of(values: torch.Tensor, clusters: ArrayLike | None = None) -> Estimate:
    """Return the mean of values of equal weight.

    Args:
        values: (values,) one number each.
        clusters: (values,) which values are not independent of each other; None: all are.
    """
    numbers = values.double().cpu().numpy()
    if clusters is None:
        return ratio(numbers, np.ones(len(numbers)))
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    return ratio(np.bincount(index, numbers), np.bincount(index))


def effective_number(sizes: ArrayLike) -> float:
    """Return how many clusters of equal size would say as much: (sum n)^2 / sum n^2."""
    size = np.asarray(sizes, np.float64)
    return float(size.sum() ** 2 / (size @ size)) if size.any() else 0.0


def blocks_of(sizes: ArrayLike) -> NDArray[np.int64]:
    """Return into how many clusters each document is cut: one each, where there are enough.

    Args:
        sizes: (documents,) items in each: tokens, or windows.
    """
    size = np.asarray(sizes, np.int64)
    if effective_number(size) >= FEWEST_CLUSTERS:
        return np.minimum(size, 1)
    return np.minimum(size, np.maximum(1, np.rint(BLOCKS * size / max(1, size.sum()))).astype(int))


def clusters_of(documents: ArrayLike) -> NDArray[np.int64]:
    """Return the cluster of each of some items: its document, or its block of one.

    Args:
        documents: (items,) the document of each item, items of one document in text order.
    """
    _, index, sizes = np.unique(np.asarray(documents), return_inverse=True, return_counts=True)
    blocks = blocks_of(sizes)
    place = np.empty(len(index), np.int64)  # of each item in its document
    place[np.argsort(index, kind="stable")] = np.arange(len(index)) - np.repeat(
        np.cumsum(sizes) - sizes, sizes
    )
    before = np.cumsum(blocks) - blocks
    return before[index] + place * blocks[index] // sizes[index]


def wilson(share: float, count: float) -> tuple[float, float]:
    """Return the 95% interval of a share of independent trials, within 0 and 1."""
    z = NORMAL
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    spread = math.sqrt(share * (1 - share) / count + z * z / (4 * count**2))
    half = z / (1 + z * z / count) * spread
    return max(0.0, middle - half), min(1.0, middle + half)


def share_interval(share: Estimate, clusters: int) -> tuple[float, float]:
    """Return the 95% interval of a share, within 0 and 1.

    Wilson's, with as many trials as the spread between clusters is worth: five tokens of a key
    that are right or wrong together count as one. Few clusters tell their spread badly, for which
    Student's t makes up (Korn and Graubard 1998). At 0 and 1 there is no spread, and a cluster is
    one trial. Where a share is near 0 or 1 and clusters are few it covers less than 93%.

    Args:
        share: its mean over clusters.
        clusters: how many there are.
    """
    half = half_width(share)
    trials = share.mean * (1 - share.mean) * (NORMAL / half) ** 2 if half else clusters
    return wilson(share.mean, trials)


@lru_cache(maxsize=1024)
def t_quantile(probability: float, degrees_of_freedom: float) -> float:
    """Return the quantile of Student's t, to eight digits.

    Args:
        probability: above 0.5, below 1.
        degrees_of_freedom: at least 1, whole or not.
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
    """Return the probability that Student's t is above a value of at least 0."""
    return _incomplete_beta(degrees / (degrees + t * t), degrees / 2, 0.5) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function (NIST DLMF 8.17.22, a continued fraction)."""
    if x >= 1.0:
        return 1.0
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on the other side
        return 1.0 - _incomplete_beta(1 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(log_front + a * math.log(x) + b * math.log1p(-x)) / a
    # Lentz's method: numerator over denominator, one term of the fraction at a time.
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
