"""The power of a comparison: the smallest detectable difference, and the seeds needed to show one.

A difference that is not significant may be absent, or too small to detect with so few seeds. The
smallest difference detected with a power of 80% tells which. It follows from the spread of the
paired differences, their number and the significance level. With few seeds that spread is itself
uncertain (with three, by a factor of about 2 either way), and so is the power.

Source: Cohen 1988, Statistical Power Analysis, section 2.5; the noncentral t distribution is
integrated over its chi-squared denominator, because scipy's own `nct` returns NaN far from zero.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from wordorder.experiments.statistics import SIGNIFICANT, Spread

POWER = 0.8  # the convention of Cohen 1988
MOST_SEEDS = 200  # nobody trains more, so a larger number would be no advice
POINTS = 1000  # quantiles of the chi-squared distribution: the power is exact to 0.001


def power_of(distance: float, spread: Spread, comparisons: int = 1) -> float:
    """Return the probability that a true difference is found significant.

    Args:
        distance: between the true mean and the value to exclude, 0 or more.
        spread: the standard error of the mean and its degrees of freedom.
        comparisons: the factor applied to the p-value; 1 for a single test. In a larger family,
            this is the power at the first and strictest step of Holm's procedure.
    """
    if spread.error == 0:
        return float(distance > 0)
    critical = float(stats.t.isf(SIGNIFICANT / comparisons / 2, spread.freedom))
    bars = critical * _denominators(round(spread.freedom, 3))
    shift = distance / spread.error
    return float(np.mean(stats.norm.sf(bars - shift) + stats.norm.cdf(-bars - shift)))


def detectable(spread: Spread, comparisons: int = 1) -> float:
    """Return the smallest true difference that is found significant with a power of 80%.

    Args:
        spread, comparisons: as `power_of` takes them.
    """
    if spread.error == 0:
        return 0.0
    critical = float(stats.t.isf(SIGNIFICANT / comparisons / 2, spread.freedom))
    most = spread.error * (critical * _denominators(round(spread.freedom, 3)).max() + 10)
    return float(
        optimize.brentq(lambda d: power_of(d, spread, comparisons) - POWER, 0.0, most, rtol=1e-6)
    )


def seeds_to_settle(distance: float, spread: Spread, comparisons: int = 1) -> int | None:
    """Return how many seeds would show a difference with 80% probability.

    Args:
        distance: the measured difference, taken as the true one.
        spread: that of the measured differences; its document component does not shrink with more
            seeds.
        comparisons: as `power_of` takes it.

    Returns:
        At least 2; None if 200 seeds are not enough.
    """

    def enough(seeds: int) -> bool:
        return power_of(distance, spread.with_seeds(seeds), comparisons) >= POWER

    if not enough(MOST_SEEDS):
        return None
    low, high = 1, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


@lru_cache(maxsize=256)
def _denominators(freedom: float) -> NDArray[np.float64]:
    """Return equally likely values of the square root of chi-squared over its degrees."""
    share = (np.arange(POINTS) + 0.5) / POINTS
    return np.sqrt(stats.chi2.ppf(share, freedom) / freedom)
