"""The search of LongRoPE: a divisor of its own for each pair of a rotary embedding.

Which frequencies may be interpolated by how much no formula knows; a loss does. Candidates, one
divisor for each pair, never falling from the fastest pair to the slowest, are mutated and crossed,
and those under which the model reads long texts best go on. They begin with what interpolation,
NTK and YaRN would do, so that what is found reads those texts no worse.

Source: Ding et al. 2024, section 3.2 and algorithm 1. Their population is 64, for 40 rounds, on a
model of billions of parameters; here it is smaller, for minutes of a CPU. Not here: the first
tokens that stay unscaled, which no released model has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Factors = tuple[float, ...]

POPULATION, ROUNDS, PARENTS = 16, 8, 6
MUTATED = 0.3  # of the divisors of a candidate (the paper's p)
WIDEST = 1.25  # times the factor: the largest divisor that is tried, as in the paper


def search(
    loss: Callable[[Factors], float],
    start: Sequence[Factors],
    factor: float,
    *,
    population: int = POPULATION,
    rounds: int = ROUNDS,
    seed: int = 0,
    progress: Callable[[float], Any] = lambda _: None,
) -> Factors:
    """Return the divisors with the smallest loss that the search came upon.

    Args:
        loss: of a model whose pairs are divided so, on text that no later figure is taken from.
        start: candidates to begin with, as other scalings divide.
        factor: how many times longer texts get.
        population: candidates in each round; the best `PARENTS` of all so far breed the next.
        rounds: of mutation and crossover.
        progress: called with the share that is done, 0 to 1.
    """
    random = np.random.default_rng(seed)
    known: dict[Factors, float] = {}
    total = population * (rounds + 1)

    def judge(candidates: Sequence[Factors]) -> None:
        for candidate in candidates:
            if candidate not in known:
                known[candidate] = loss(candidate)
                progress(min(1.0, len(known) / total))

    judge(start)
    judge([_mutated(start[i % len(start)], factor, random) for i in range(population - len(start))])
    for _ in range(rounds):
        best = sorted(known, key=known.__getitem__)[:PARENTS]
        half = population // 2
        mutants = [_mutated(best[random.integers(len(best))], factor, random) for _ in range(half)]
        judge(mutants)
        judge([_crossed(best, random) for _ in range(population - half)])
    progress(1.0)
    return min(known, key=known.__getitem__)


def _mutated(candidate: Factors, factor: float, random: Generator) -> Factors:
    """Return a candidate some of whose divisors are others, between 1 and the widest."""
    divisors = np.array(candidate)
    chosen = random.random(len(divisors)) < MUTATED
    drawn = np.exp(random.uniform(0, np.log(WIDEST * factor), len(divisors)))
    near = divisors * np.exp(random.normal(0, 0.2, len(divisors)))
    fresh = np.where(random.random(len(divisors)) < 0.5, drawn, near)
    return never_falling(np.clip(np.where(chosen, fresh, divisors), 1.0, WIDEST * factor))


def _crossed(best: Sequence[Factors], random: Generator) -> Factors:
    """Return a child that has each divisor from one of two parents."""
    one, two = (np.array(best[random.integers(len(best))]) for _ in range(2))
    return never_falling(np.where(random.random(len(one)) < 0.5, one, two))


def never_falling(divisors: NDArray[np.float64]) -> Factors:
    """Return divisors that never fall from one pair to the next, to two places as the paper's."""
    return tuple(round(float(d), 2) for d in np.maximum.accumulate(divisors))
