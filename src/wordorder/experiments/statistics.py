"""What a handful of seeds allows one to say: paired differences, intervals, corrected tests.

Runs that share a seed share their data order and initial weights, so they are compared seed by
seed: what a seed makes easier for both cancels. Few seeds make wide intervals (with three, the
t-interval is 4.3 standard errors either way), and several comparisons make a chance find likely,
so a difference is declared only where its interval excludes zero and its p-value survives Holm's
correction over everything that was compared with the same baseline.

The documents of the held-out text are a sample too: an embedding that is better on these may not
be on others. Where the difference on each document is known, the interval covers both seeds and
documents: their variances are added, each estimated from its own means, and the degrees of freedom
are Satterthwaite's. What one seed does on one document is in both variances, so the interval is
somewhat too wide where that dominates, never too narrow.

Source: Student 1908 (the paired t); Holm 1979, A simple sequentially rejective multiple test
procedure; Fisher 1935, The Design of Experiments, section 21 (flipping the signs of differences);
Cameron, Gelbach and Miller 2011, Robust Inference with Multiway Clustering (two-way variances);
Satterthwaite 1946 (degrees of freedom); Kish 1965 (how many documents of unequal size count for).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wordorder.errors import BadInput
from wordorder.evaluation.intervals import CONFIDENCE

try:
    from scipy import stats
except ImportError:
    raise BadInput("statistics need an extra: pip install 'wordorder[compare]'") from None

SIGNIFICANT = 0.05  # an adjusted p-value below it

# With 6 pairs the smallest two-sided p of a sign-flip test is 2/64 = 0.03; with 5 it is 0.06, so
# that nothing could ever be found.
FEWEST_TO_PERMUTE = 6
# Up to 16 seeds every flip is counted; beyond, this many are drawn.
MOST_FLIPS = 1 << 16


@dataclass(frozen=True)
class Interval:
    """A mean and its 95% t-interval; `low` and `high` are None where there is one value."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class ByDocument:
    """The paired difference on each document of the held-out text.

    Args:
        values: for each seed, in the order of the pairs, one difference a document.
        weights: the tokens of each document, or its windows: what the mean weighs it by.
    """

    values: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Spread:
    """How uncertain a mean difference is, and why.

    Args:
        seeds: how many pairs.
        seed_variance: of the difference from one seed to the next.
        document_variance: of the mean, because of the documents; 0 where they are not sampled.
        document_freedom: degrees of freedom of that; 0 where they are not sampled.
    """

    seeds: int
    seed_variance: float
    document_variance: float = 0.0
    document_freedom: float = 0.0

    @property
    def error(self) -> float:
        """The standard error of the mean."""
        return math.sqrt(self.seed_variance / self.seeds + self.document_variance)

    @property
    def freedom(self) -> float:
        """The degrees of freedom of `error`. Source: Satterthwaite 1946."""
        of_seeds = self.seed_variance / self.seeds
        if not self.document_variance:
            return self.seeds - 1
        below = of_seeds**2 / (self.seeds - 1)
        below += self.document_variance**2 / self.document_freedom
        return (of_seeds + self.document_variance) ** 2 / below

    def with_seeds(self, seeds: int) -> Spread:
        """Return the spread that as many seeds would have."""
        return replace(self, seeds=seeds)


@dataclass(frozen=True)
class Difference:
    """How something differs from a baseline, seed by seed.

    Args:
        mean: of the differences, value minus baseline.
        low, high: the 95% t-interval of the mean; None with one seed.
        p: of the paired t-test, two-sided; None with one seed.
        p_permutation: of the test that flips signs, exact up to 16 seeds; None below 6 seeds.
        seeds: how many pairs there are.
        values: the difference of each pair, in the order given.
        spread: what the interval and p follow from; None with one seed.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None
    p_permutation: float | None
    seeds: int
    values: tuple[float, ...]
    spread: Spread | None = None

    @property
    def over_documents(self) -> bool:
        """Whether interval and p cover other documents too, not these alone."""
        return self.spread is not None and self.spread.document_freedom > 0


def difference(
    values: Sequence[float], baseline: Sequence[float], documents: ByDocument | None = None
) -> Difference:
    """Return the paired difference of values to a baseline.

    Args:
        values, baseline: one finite number a seed, the same seed at the same place.
        documents: the differences by document, for an interval over seeds and documents; None, or
            fewer than two documents, for these documents alone.

    Raises:
        BadInput: no pairs, pairs that do not match, numbers that are not finite.
    """
    if len(values) != len(baseline):
        raise BadInput(
            f"{len(values)} values and {len(baseline)} of the baseline make no pairs: "
            "give one of each for every seed"
        )
    pairs = zip(values, baseline, strict=True)
    differences = tuple(float(value) - float(base) for value, base in pairs)
    mean, error = _mean_and_error(differences)
    count = len(differences)
    if error is None:
        return Difference(mean, None, None, None, None, count, differences)
    spread = Spread(count, count * error**2, *_of_documents(documents))
    reach = spread.error * float(stats.t.ppf((1 + CONFIDENCE) / 2, spread.freedom))
    return Difference(
        mean,
        mean - reach,
        mean + reach,
        p=_p_of_t(mean, spread),
        p_permutation=_sign_flips(differences),
        seeds=count,
        values=differences,
        spread=spread,
    )


def interval(values: Sequence[float]) -> Interval:
    """Return the mean of some values and its 95% t-interval.

    Raises:
        BadInput: no values, or one that is not finite.
    """
    mean, error = _mean_and_error(values)
    if error is None:
        return Interval(mean, None, None)
    reach = error * float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return Interval(mean, mean - reach, mean + reach)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for there being several, each at its own place.

    The smallest of m is multiplied by m, the next by m - 1, and so on, none falling below the
    one before it: the chance of any false find among them stays below the level asked for,
    however they depend on one another.

    Source: Holm 1979.
    """
    adjusted, reached = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        reached = max(reached, min(1.0, (len(p_values) - rank) * float(p_values[index])))
        adjusted[index] = reached
    return adjusted


def differs(difference: Difference, adjusted_p: float | None) -> bool:
    """Whether a difference may be claimed: its interval excludes zero and Holm's p is below 0.05.

    Args:
        adjusted_p: of this difference, by `holm`; None, as `p` is with one seed, claims nothing.
    """
    if difference.low is None or difference.high is None or adjusted_p is None:
        return False
    return not difference.low <= 0 <= difference.high and adjusted_p < SIGNIFICANT


def _mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and its standard error, None with one value."""
    if not len(values):
        raise BadInput("there are no values to take the mean of: at least one run must end well")
    if not all(math.isfinite(value) for value in values):
        raise BadInput("a value is not a finite number: leave out runs that failed")
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, None
    squares = math.fsum((value - mean) ** 2 for value in values)
    return mean, math.sqrt(squares / (len(values) - 1) / len(values))


def _p_of_t(mean: float, spread: Spread) -> float:
    """Return the two-sided p of the mean being zero, also where all differences are equal."""
    if spread.error == 0:  # scipy's own test warns here and answers NaN where the mean is zero too
        return 0.0 if mean else 1.0
    return float(2 * stats.t.sf(abs(mean) / spread.error, spread.freedom))


def _of_documents(documents: ByDocument | None) -> tuple[float, float]:
    """Return the variance of a mean because of its documents, and its degrees of freedom.

    A document's deviation counts by its weight, divided by 1 - weight because the mean follows a
    large document (the correction that is known as HC2). Documents of unequal size count for as
    many equal ones as Kish's formula says.
    """
    if documents is None or len(documents.weights) < 2:
        return 0.0, 0.0
    weights = np.asarray(documents.weights, float)
    weights = weights / weights.sum()
    counts_for = 1 / float(weights @ weights)
    if counts_for <= 1 + 1e-9:
        return 0.0, 0.0
    means = np.asarray(documents.values, float).mean(0)
    deviations = weights * (means - weights @ means)
    return float((deviations**2 / (1 - weights)).sum()), max(1.0, counts_for - 1)


def _sign_flips(differences: Sequence[float]) -> float | None:
    """Return the share of flipped signs whose mean is as far from zero as what was found."""
    if len(differences) < FEWEST_TO_PERMUTE:
        return None
    test = stats.permutation_test(
        (np.asarray(differences),),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=MOST_FLIPS,
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)
