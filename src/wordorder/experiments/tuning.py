"""Tunes the learning rates of each embedding, with shorter runs on development text.

A shared rate can decide a comparison, and tuning on the reported text would favour the embedding
with the most trials. So tuning uses development text if the split has some (the report names the
text), two seeds of its own and half the steps. Factors 1/2, 1 and 2 of both rates are tried; if the
best is at the edge, the next power of two too, from 1/8 to 8. All losses are in comparison.json and
the report.

Not here: other settings than the two learning rates; rates that differ between seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wordorder.experiments.cluster import ClusterLauncher
from wordorder.experiments.comparison import Comparison
from wordorder.experiments.grid import Cell, run_cells
from wordorder.experiments.paired_run import CHOOSING
from wordorder.experiments.runner import Progress
from wordorder.names import file_name

FACTORS = (0.5, 1.0, 2.0)  # of both learning rates
LEAST, MOST = 1 / 8, 8.0  # further is another schedule, not another rate
SHARE = 0.5  # of the comparison's steps
SEEDS = (1_000_000, 1_000_001)  # different from those of the comparison

# For each factor, the loss of each seed.
Losses = dict[float, list[float]]


def tune(
    folder: Path, record: Comparison, show: Progress, cluster: ClusterLauncher | None = None
) -> dict[str, Any]:
    """Return the factor of both learning rates with which each embedding learns best, and why.

    Args:
        record: of the comparison; embeddings that it has tuned before are not tuned again.

    Returns:
        `chosen` (a factor for each embedding), `losses` (for each embedding and factor, one a
        seed), `text` (which text chose), `seeds`, `steps`.
    """
    before = record.tuning or {}
    steps = math.ceil(SHARE * record.steps)
    new = [p for p in record.positions if p not in (record.tuned or {})]
    # An embedding that was left out and is added again is tuned from its stored runs.
    losses: dict[str, Losses] = {
        position: {float(f): list(of_seeds) for f, of_seeds in each.items()}
        for position, each in before.get("losses", {}).items()
        if position not in new
    }
    texts = {before["text"]} if before.get("text") else set()
    next_factors: dict[str, tuple[float, ...]] = dict.fromkeys(new, FACTORS)
    tried: dict[str, set[float]] = {p: set(losses.get(p, {})) for p in new}  # also what failed
    while any(next_factors.values()):
        cells = [
            Cell(p, seed, _folder(folder, p, factor, seed), factor, steps)
            for p, factors in next_factors.items()
            for factor in factors
            for seed in SEEDS
        ]

        outcomes = run_cells(record, cells, CHOOSING, show, cluster=cluster)
        for cell, outcome in zip(cells, outcomes, strict=True):
            of_factor = losses.setdefault(cell.position, {}).setdefault(cell.rate, [])
            if outcome.error is None:
                of_factor.append(outcome.result["validation_loss"])
                texts.add(outcome.result["text"])
        tried = {p: tried[p] | set(next_factors[p]) for p in new}
        next_factors = {p: further(losses.get(p, {}), tried[p]) for p in new}
    chosen = {p: best(losses.get(p, {})) for p in new}
    return {
        "chosen": {p: {**(record.tuned or {}), **chosen}[p] for p in record.positions},
        "losses": {p: {f"{f:g}": each[f] for f in sorted(each)} for p, each in losses.items()},
        "text": " and ".join(sorted(texts)),
        "seeds": list(SEEDS),
        "steps": steps,
    }


def best(losses: Losses) -> float:
    """Return the factor with the lowest mean loss, of those that ended with every seed; else 1."""
    whole = {f: math.fsum(tried) for f, tried in losses.items() if ended(tried)}
    return min(whole, key=whole.__getitem__) if whole else 1.0


def further(losses: Losses, tried: set[float]) -> tuple[float, ...]:
    """Return the factor to try next: past the edge where the best is at it; none otherwise.

    Args:
        tried: every factor that was tried, also those whose runs failed.
    """
    if not any(ended(each) for each in losses.values()):
        return ()
    chosen = best(losses)
    if chosen == min(tried) and chosen > LEAST:
        return (chosen / 2,)
    if chosen == max(tried) and chosen < MOST:
        return (chosen * 2,)
    return ()


def ended(of_seeds: Sequence[float]) -> bool:
    """Return whether a factor has a finite loss with every seed."""
    return len(of_seeds) == len(SEEDS) and all(math.isfinite(loss) for loss in of_seeds)


def _folder(folder: Path, position: str, factor: float, seed: int) -> Path:
    return folder / "tuning" / f"{file_name(position)}-{factor:g}x-seed{SEEDS.index(seed)}"
