"""The evolutionary search of LongRoPE for one frequency divisor per rotary pair.

No formula gives the best interpolation of each frequency, so LongRoPE searches for it. A candidate
has one divisor for each pair, non-decreasing from the fastest pair to the slowest. Candidates are
mutated and crossed, and those with the lowest loss on long text survive. The first ones are the
divisors of interpolation, NTK, YaRN and Llama 3, so the result is no worse than these on that text.

Source: Ding et al. 2024, section 3.2 and algorithm 1. They use a population of 64 and 40 rounds on
models of billions of parameters; the defaults here are smaller, for minutes on a CPU. Not here: the
first tokens that stay unscaled, which no released model has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Factors = tuple[float, ...]

POPULATION, ROUNDS, PARENTS = 16, 8, 6
MUTATED = 0.3  # fraction of a candidate's divisors that change (the paper's p)
WIDEST = 1.25  # the largest divisor, relative to the factor, as in the paper


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
    """Search for the divisors with the lowest loss.

    Args:
        loss: returns the loss with given divisors, on text that no reported result uses.
        start: the first candidates, such as the divisors of other scalings.
        factor: the new length divided by the original one.
        population: candidates in each round; the best `PARENTS` so far are the parents of the
            next.
        rounds: of mutation and crossover.
        progress: called with the fraction done, 0 to 1.
    """
    random = np.random.default_rng(seed)
    losses: dict[Factors, float] = {}
    total = population * (rounds + 1)

    def evaluate(candidates: Sequence[Factors]) -> None:
        for candidate in candidates:
            if candidate not in losses:
                losses[candidate] = loss(candidate)
                progress(min(1.0, len(losses) / total))

    evaluate(start)
    evaluate(
        [_mutated(start[i % len(start)], factor, random) for i in range(population - len(start))]
    )
    for _ in range(rounds):
        best = sorted(losses, key=losses.__getitem__)[:PARENTS]
        half = population // 2
        mutants = [_mutated(best[random.integers(len(best))], factor, random) for _ in range(half)]
        evaluate(mutants)
        evaluate([_crossed(best, random) for _ in range(population - half)])
    progress(1.0)
    return min(losses, key=losses.__getitem__)


def _mutated(candidate: Factors, factor: float, random: Generator) -> Factors:
    """Return a candidate with some divisors replaced, between 1 and the largest."""
    divisors = np.array(candidate)
    chosen = random.random(len(divisors)) < MUTATED
    drawn = np.exp(random.uniform(0, np.log(WIDEST * factor), len(divisors)))
    near = divisors * np.exp(random.normal(0, 0.2, len(divisors)))
    fresh = np.where(random.random(len(divisors)) < 0.5, drawn, near)
    return non_decreasing(np.clip(np.where(chosen, fresh, divisors), 1.0, WIDEST * factor))


def _crossed(best: Sequence[Factors], random: Generator) -> Factors:
    """Return a child with each divisor from one of two parents."""
    one, two = (np.array(best[int(random.integers(len(best)))]) for _ in range(2))
    return non_decreasing(np.where(random.random(len(one)) < 0.5, one, two))


def non_decreasing(divisors: NDArray[np.float64]) -> Factors:
    """Return non-decreasing divisors, rounded to two decimals as in the paper."""
    return tuple(round(float(d), 2) for d in np.maximum.accumulate(divisors))
