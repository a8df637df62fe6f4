"""Intervals of an accuracy over few seeds, for which t-intervals fail.

Accuracies are bounded, and beyond the trained length seeds are often all right or all wrong: the
t-interval of three such values covers the true mean in 27 to 75% of cases and exceeds 0 or 1. The
beta-binomial model is used instead: each seed has a probability from a beta distribution around the
mean, and its correct answers are binomial. The unknown variance between seeds is integrated out.
The interval is the central 95% of the posterior of the mean; if all seeds are at 0 or 1 it ends
there.

Duplicate examples count once: they are right or wrong together.

Source: Skellam 1948 (the beta-binomial distribution); Brown, Cai and DasGupta 2001, Interval
Estimation for a Binomial Proportion (Jeffreys' prior, and what it does at 0 and 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from wordorder.experiments.statistics import CONFIDENCE, SIGNIFICANT, special, stats

MEANS, AGREEMENTS = 200, 30  # points at which the mean and the agreement of seeds are tried


def share_interval(shares: Sequence[float], examples: int) -> tuple[float, float] | None:
    """Return the 95% interval of the mean share over seeds; None with fewer than two seeds.

    Args:
        shares: of each seed, 0 to 1.
        examples: how many different ones each seed was tested on.
    """
    return _interval(tuple(shares), examples) if len(shares) > 1 else None


@lru_cache(maxsize=4096)  # tables, sentences and files ask for the same ones
def _interval(shares: tuple[float, ...], examples: int) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    if all(share == 0 for share in shares):
        return 0.0, _all_alike(len(shares), examples, tail)
    if all(share == 1 for share in shares):
        return 1 - _all_alike(len(shares), examples, tail), 1.0
    cumulative = np.cumsum(_posterior(shares, examples))
    ends = (np.arange(MEANS) + 1) / MEANS
    low, high = np.interp((tail, 1 - tail), cumulative, ends)
    return float(low), float(high)


def _posterior(shares: tuple[float, ...], examples: int) -> NDArray[np.float64]:
    """Return how likely each mean is, on the grid of means."""
    means, agreements = _grid()
    # Jeffreys' prior of a proportion; and for the agreement, seeds that are all or nothing get
    # more weight than seeds alike, because that is how they are beyond the trained length.
    log = -0.5 * (np.log(means) + np.log1p(-means)) - 0.5 * np.log1p(-agreements)
    for share in shares:
        log = log + _log_beta(share * examples, examples)
        log = log - _log_beta(0.0, 0)
    weights = np.exp(log - log.max()).sum(1)
    return weights / weights.sum()


@lru_cache(maxsize=128)  # most of the time, and of so many examples there are few different shares
def _log_beta(right: float, examples: int) -> NDArray[np.float64]:
    """Return the logarithm of the beta function after so many right answers, on the grid."""
    means, agreements = _grid()
    concentration = (1 - agreements) / agreements
    first, second = means * concentration, (1 - means) * concentration
    return special.betaln(first + right, second + examples - right)


@lru_cache(maxsize=1)
def _grid() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return means (rows) and agreements of seeds (columns), both between 0 and 1.

    An agreement of 0 is seeds alike, 1 is seeds that are all or nothing.
    """
    means = (np.arange(MEANS) + 0.5) / MEANS
    agreements = (np.arange(AGREEMENTS) + 0.5) / AGREEMENTS
    return means[:, None], agreements[None, :]


def _all_alike(seeds: int, examples: int, tail: float) -> float:
    """Return how large a share may be of which no seed showed any.

    Seeds may be all or nothing, and then each is one trial, whatever it was tested on: the larger
    of what the model says and of Jeffreys' bound of that many trials.
    """
    cumulative = np.cumsum(_posterior((0.0,) * seeds, examples))
    by_model = float(np.interp(1 - tail, cumulative, (np.arange(MEANS) + 1) / MEANS))
    by_seeds = float(stats.beta.ppf(1 - tail, 0.5, seeds + 0.5))
    return max(by_model, by_seeds)


def chance_to_lead(seeds: Sequence[int]) -> float:
    """Return how often one embedding's worst seed beats every other seed if none differ.

    Args:
        seeds: how many each embedding has.

    Returns:
        The sum over embeddings of one in as many as there are ways to choose its seeds from all,
        1 where there is one embedding. With 2 embeddings of 3 seeds it is 0.1, with 5 it is 0.011.
    """
    return min(1.0, sum(1 / math.comb(sum(seeds), own) for own in seeds))


def leads(first: Sequence[float], others: Sequence[Sequence[float]], tasks: int = 1) -> bool:
    """Whether an embedding may be said to read furthest.

    Its worst seed must be better than the best of every other, and luck alone must do that in at
    most this task's part of 5%.

    Args:
        first, others: the shares of each embedding's seeds.
        tasks: how many tasks the same report asks this of.
    """
    if not others or min(first) <= max(share for shares in others for share in shares):
        return False
    return may_lead([len(first), *map(len, others)], tasks)


def may_lead(seeds: Sequence[int], tasks: int = 1) -> bool:
    """Whether there are seeds enough for any embedding to be said to read furthest.

    Args:
        seeds: how many each embedding has.
        tasks: how many tasks the same report asks this of.
    """
    return len(seeds) > 1 and chance_to_lead(seeds) <= SIGNIFICANT / tasks
