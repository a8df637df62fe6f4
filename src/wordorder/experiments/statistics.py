"""Statistics for few seeds: paired differences, intervals, corrected tests.

Runs with the same seed share their data order and initial weights, so they are compared seed by
seed, and common effects of a seed cancel. Few seeds give wide intervals (with three, the t-interval
is 4.3 standard errors either way), and several comparisons inflate false positives, so a difference
is significant only if its interval excludes zero and its p-value is below 0.05 after Holm's
correction over all comparisons with the baseline.

The documents of the held-out text are a sample too: a difference on these may not hold on others.
If the difference on each document is known, and the documents count for four or more, the interval
covers both seeds and documents: the two variances are added. Their t-quantile is the mean of both
quantiles, weighted by the variances; in simulations 95% intervals cover the truth in 95 to 97% of
cases (with Satterthwaite's degrees of freedom and three seeds only in 92%). The interaction of seed
and document is in both variances, so the interval is somewhat too wide if that dominates. With
fewer documents it is over seeds only: two or three do not tell how much others would differ.

Source: Student 1908 (the paired t); Holm 1979, A simple sequentially rejective multiple test
procedure; Fisher 1935, The Design of Experiments, section 21 (flipping the signs of differences);
Cameron, Gelbach and Miller 2011, Robust Inference with Multiway Clustering (two-way variances);
Cochran 1964, Approximate Significance Levels of the Behrens-Fisher Test (the weighted quantile).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wordorder.errors import BadInput
from wordorder.evaluation.intervals import CONFIDENCE, FEWEST_CLUSTERS, effective_number, ratio

try:
    # `shares` imports these from here, because of the message.
    from scipy import optimize
    from scipy import special as special
    from scipy import stats as stats
except ImportError:
    raise BadInput(
        "statistics need an extra: pip install 'wordorder[compare]'", code="experiments.needs-scipy"
    ) from None

SIGNIFICANT = 0.05  # the level of adjusted p-values

# With 6 pairs the smallest two-sided p of a sign-flip test is 2/64 = 0.03; with 5 it is 0.06, never
# significant.
FEWEST_TO_PERMUTE = 6
# Up to 16 seeds all flips are enumerated; beyond, this many are sampled.
MOST_FLIPS = 1 << 16


@dataclass(frozen=True)
class Interval:
    """A mean and its 95% t-interval; `low` and `high` are None for a single value."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class ByDocument:
    """The paired difference on each document of the held-out text.

    Args:
        values: for each seed, in the order of the pairs, one difference a document.
        weights: the weight of each document in the mean: its tokens, or its windows.
    """

    values: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Spread:
    """The variance of a mean difference and its components.

    Args:
        seeds: the number of pairs.
        seed_variance: the variance of the difference between seeds.
        document_variance: the variance of the mean due to documents; 0 if not estimated.
        document_freedom: its degrees of freedom; 0 if not estimated.
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
        """The degrees of freedom whose 95% t-quantile is that of both variances, weighted by them.

        Source: Cochran 1964.
        """
        of_seeds, freedom = self.seed_variance / self.seeds, float(self.seeds - 1)
        if not self.document_variance:
            return freedom
        low, high = sorted((freedom, self.document_freedom))
        quantile = of_seeds * _quantile(freedom)
        quantile += self.document_variance * _quantile(self.document_freedom)
        quantile /= of_seeds + self.document_variance
        if not _quantile(high) < quantile < _quantile(low):  # one variance is all there is
            return freedom if of_seeds > self.document_variance else self.document_freedom
        return float(optimize.brentq(lambda f: _quantile(f) - quantile, low, high))

    def with_seeds(self, seeds: int) -> Spread:
        """Return the spread with another number of seeds."""
        return replace(self, seeds=seeds)


@dataclass(frozen=True)
class Difference:
    """The paired difference to a baseline.

    Args:
        mean: of the differences, value minus baseline.
        low, high: the 95% t-interval of the mean; None with one seed.
        p: of the paired t-test, two-sided; None with one seed.
        p_permutation: of the sign-flip test, exact up to 16 seeds; None below 6 seeds.
        seeds: the number of pairs.
        values: the difference of each pair, in the order given.
        spread: the variance behind the interval and p; None with one seed.
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
        """Whether interval and p generalise to other documents."""
        return self.spread is not None and self.spread.document_freedom > 0


def difference(
    values: Sequence[float], baseline: Sequence[float], documents: ByDocument | None = None
) -> Difference:
    """Return the paired difference of values to a baseline.

    Args:
        values, baseline: one finite number per seed, in the same order of seeds.
        documents: the differences by document, for an interval over seeds and documents; None, or
            documents that count for fewer than four: over seeds only.

    Raises:
        BadInput: there are no pairs, the counts differ, or a number is not finite.
    """
    if len(values) != len(baseline):
        raise BadInput(
            f"{len(values)} values and {len(baseline)} values of the baseline cannot be paired: "
            "give one of each for every seed",
            code="experiments.unpaired-values",
        )
    if documents is not None and len(documents.values) != len(values):
        raise BadInput(
            f"differences by document of {len(documents.values)} seeds do not belong to "
            f"{len(values)} pairs: give one row for every seed",
            code="experiments.other-documents",
        )
    pairs = zip(values, baseline, strict=True)
    differences = tuple(float(value) - float(base) for value, base in pairs)
    mean, error = _mean_and_error(differences)
    count = len(differences)
    if error is None:
        return Difference(mean, None, None, None, None, count, differences)
    spread = Spread(count, count * error**2, *_of_documents(documents))
    reach = spread.error * _quantile(spread.freedom)
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
        BadInput: there are no values, or one is not finite.
    """
    mean, error = _mean_and_error(values)
    if error is None:
        return Interval(mean, None, None)
    reach = error * _quantile(len(values) - 1)
    return Interval(mean, mean - reach, mean + reach)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values with Holm's correction, in the given order.

    The smallest of m is multiplied by m, the next by m - 1, and so on, never below the previous
    one. This bounds the probability of any false positive for any dependence between tests.

    Raises:
        BadInput: a p-value is not between 0 and 1.

    Source: Holm 1979.
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise BadInput(
            "a p-value is not between 0 and 1: leave out failed runs", code="experiments.no-p-value"
        )
    adjusted, reached = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        reached = max(reached, min(1.0, (len(p_values) - rank) * float(p_values[index])))
        adjusted[index] = reached
    return adjusted


def differs(difference: Difference, adjusted_p: float | None) -> bool:
    """Return whether a difference is significant: its interval excludes zero and p is below 0.05.

    Args:
        adjusted_p: its p-value after `holm`; None with one seed: not significant.
    """
    if difference.low is None or difference.high is None or adjusted_p is None:
        return False
    return not difference.low <= 0 <= difference.high and adjusted_p < SIGNIFICANT


def _mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and its standard error, None with one value."""
    if not len(values):
        raise BadInput(
            "no values to average: at least one run must succeed", code="experiments.no-values"
        )
    if not all(math.isfinite(value) for value in values):
        raise BadInput(
            "a value is NaN or infinite: leave out failed runs", code="experiments.not-finite"
        )
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, None
    squares = math.fsum((value - mean) ** 2 for value in values)
    return mean, math.sqrt(squares / (len(values) - 1) / len(values))


def _quantile(freedom: float) -> float:
    """Return how many standard errors a 95% t-interval reaches to either side."""
    return float(special.stdtrit(freedom, (1 + CONFIDENCE) / 2))


def _p_of_t(mean: float, spread: Spread) -> float:
    """Return the two-sided p-value of a zero mean, also if all differences are equal."""
    if spread.error == 0:  # scipy warns here, and returns NaN for a zero mean
        return 0.0 if mean else 1.0
    return float(2 * special.stdtr(spread.freedom, -abs(mean) / spread.error))


def _of_documents(documents: ByDocument | None) -> tuple[float, float]:
    """Return the variance of a mean due to documents, and its degrees of freedom.

    Both are 0 if the documents count for fewer than four.
    """
    if documents is None or effective_number(documents.weights) < FEWEST_CLUSTERS:
        return 0.0, 0.0
    weights = np.asarray(documents.weights, float)
    over = ratio(weights * np.asarray(documents.values, float).mean(0), weights)
    return (over.standard_error or 0.0) ** 2, over.degrees_of_freedom or 0.0


def _sign_flips(differences: Sequence[float]) -> float | None:
    """Return the p-value of the sign-flip test; None with too few pairs."""
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
