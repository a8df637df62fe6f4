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

from wordorder.evaluation.intervals import CONFIDENCE
from wordorder.experiments.statistics import SIGNIFICANT, special, stats

MEANS, CORRELATIONS = 200, 30  # grid points of the mean and of the intraclass correlation


def share_interval(shares: Sequence[float], examples: int) -> tuple[float, float] | None:
    """Return the 95% interval of the mean share over seeds; None with fewer than two seeds.

    Args:
        shares: of each seed, 0 to 1.
        examples: how many different ones each seed was tested on.
    """
    return _interval(tuple(shares), examples) if len(shares) > 1 else None


@lru_cache(maxsize=4096)  # tables, sentences and files request the same intervals
def _interval(shares: tuple[float, ...], examples: int) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    if all(share == 0 for share in shares):
        return 0.0, _all_alike(len(shares), examples, tail)
    if all(share == 1 for share in shares):
        return 1 - _all_alike(len(shares), examples, tail), 1.0
    cumulative = np.concatenate([[0.0], np.cumsum(_posterior(shares, examples))])
    low, high = np.interp((tail, 1 - tail), cumulative, np.arange(MEANS + 1) / MEANS)
    mean = float(np.mean(shares))  # between two points of the grid it may be outside
    return min(float(low), mean), max(float(high), mean)


def _posterior(shares: tuple[float, ...], examples: int) -> NDArray[np.float64]:
    """Return the posterior probability of each mean on the grid."""
    means, correlations = _grid()
    # Jeffreys' prior for the mean. The prior for the correlation favours seeds that are all right
    # or all wrong, as they often are beyond the trained length.
    log = -0.5 * (np.log(means) + np.log1p(-means)) - 0.5 * np.log1p(-correlations)
    for share in shares:
        log = log + _log_beta(share * examples, examples)
        log = log - _log_beta(0.0, 0)
    weights = np.exp(log - log.max()).sum(1)
    return weights / weights.sum()


@lru_cache(maxsize=128)  # takes most of the time; for one number of examples few shares occur
def _log_beta(right: float, examples: int) -> NDArray[np.float64]:
    """Return the logarithm of the beta function after so many right answers, on the grid."""
    means, correlations = _grid()
    concentration = (1 - correlations) / correlations
    first, second = means * concentration, (1 - means) * concentration
    return special.betaln(first + right, second + examples - right)


@lru_cache(maxsize=1)
def _grid() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return means (rows) and intraclass correlations (columns), both between 0 and 1.

    The beta distribution of seeds with correlation r has the concentration (1 - r) / r: seeds are
    alike at 0, and each is all right or all wrong at 1.
    """
    means = (np.arange(MEANS) + 0.5) / MEANS
    correlations = (np.arange(CORRELATIONS) + 0.5) / CORRELATIONS
    return means[:, None], correlations[None, :]


def _all_alike(seeds: int, examples: int, tail: float) -> float:
    """Return the upper end of the interval if every seed scored 0.

    If seeds are all or nothing, each is a single trial, however many examples it was tested on. So
    this is the larger of the model's bound and Jeffreys' bound for that many trials.
    """
    cumulative = np.cumsum(_posterior((0.0,) * seeds, examples))
    by_model = float(np.interp(1 - tail, cumulative, (np.arange(MEANS) + 1) / MEANS))
    by_seeds = float(stats.beta.ppf(1 - tail, 0.5, seeds + 0.5))
    return max(by_model, by_seeds)


def chance_to_lead(seeds: Sequence[int]) -> float:
    """Return the probability of a lead by chance, if no embedding differs from another.

    A lead: the worst seed of one embedding beats every seed of the others.

    Args:
        seeds: the number of seeds of each embedding.

    Returns:
        The sum over embeddings of 1 / (the number of ways to choose its seeds from all seeds); 1
        for a single embedding. It is 0.1 for 2 embeddings of 3 seeds, 0.011 for 5 embeddings.
    """
    return min(1.0, sum(1 / math.comb(sum(seeds), own) for own in seeds))


def leads(first: Sequence[float], others: Sequence[Sequence[float]], tasks: int = 1) -> bool:
    """Return whether an embedding can be said to generalise furthest.

    Its worst seed must beat the best seed of every other embedding, and the probability of that by
    chance must be at most 5% divided by the number of tasks.

    Args:
        first, others: the scores of each embedding's seeds.
        tasks: the number of tasks in the report.
    """
    if not others or min(first) <= max(share for shares in others for share in shares):
        return False
    return may_lead([len(first), *map(len, others)], tasks)


def may_lead(seeds: Sequence[int], tasks: int = 1) -> bool:
    """Return whether there are enough seeds to say that any embedding generalises furthest.

    Args:
        seeds: the number of seeds of each embedding.
        tasks: the number of tasks in the report.
    """
    return len(seeds) > 1 and chance_to_lead(seeds) <= SIGNIFICANT / tasks
