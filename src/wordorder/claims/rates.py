"""The claim that the learning rate decides more than the embedding does.

Small models are mostly compared at one learning rate. If a learning rate that is off by a factor of
four changes the loss by more than another embedding does, such a comparison says little. Here every
embedding has its own best rate, so the spread over embeddings is due to the embeddings alone.

The maximum of several losses is biased upwards and the minimum downwards, so both spreads are too
wide. To limit this, the best rate and both ends of a spread are selected by the mean over seeds,
and the difference between the ends is then computed for each seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from wordorder.claims.claim import Claim, ClaimPlan, Criterion, Gate, Measurements, Results, Work
from wordorder.claims.learning import MODELS
from wordorder.claims.text_models import loss, per_seed, text_model

EMBEDDINGS = ("learned", "sinusoidal", "rotary", "t5", "alibi")
TRIED = "rotary"  # the embedding that is trained at every rate
RATES = (0.25, 0.5, 1.0, 2.0, 4.0)  # of both learning rates, relative to the default ones
NEAR = (0.5, 1.0, 2.0)  # the rates of the other embeddings
EDGE = 0.02  # nats; more gained at the edge of the rates means that the best one lies beyond
LESS = "spread over embeddings minus spread over rates"
GAINED = "gain at the edge of the rates, most of any embedding"

Losses = Mapping[int, float]  # by seed


def rates_of(position: str) -> tuple[float, ...]:
    """Return the multiples of the learning rates that an embedding is trained at."""
    return RATES if position == TRIED else NEAR


def _works(plan: ClaimPlan) -> list[Work]:
    return [
        text_model(plan, position, seed, rate=rate)
        for seed in range(plan.seeds)
        for position in EMBEDDINGS
        for rate in rates_of(position)
    ]


def _losses(plan: ClaimPlan, results: Results, position: str) -> dict[float, Losses]:
    """Return the losses of an embedding by rate, of rates that some seed ended with."""
    every = {
        rate: {s: loss(part) for s, part in per_seed(plan, results, position, rate=rate).items()}
        for rate in rates_of(position)
    }
    return {rate: losses for rate, losses in every.items() if losses}


def _mean(losses: Losses) -> float:
    return math.fsum(losses.values()) / len(losses)


def spread(several: Iterable[Losses]) -> dict[int, float]:
    """Return the loss of the worst of several minus that of the best, by seed.

    Which are the worst and the best is decided by the mean over seeds.
    """
    ranked = sorted(several, key=_mean)
    best, worst = ranked[0], ranked[-1]
    return {seed: worst[seed] - best[seed] for seed in worst if seed in best}


def _gain_at_edge(means: list[float]) -> float:
    """Return how much lower the lowest loss is if the first and the last rate count."""
    return min(means[1:-1]) - min(means)


def _read(plan: ClaimPlan, results: Results) -> Measurements:
    every = {position: _losses(plan, results, position) for position in EMBEDDINGS}
    if not all(len(losses) == len(rates_of(p)) for p, losses in every.items()):
        return Measurements({})
    best = {p: min(losses, key=lambda rate: _mean(losses[rate])) for p, losses in every.items()}
    over_embeddings = spread(every[p][rate] for p, rate in best.items())
    over_rates = spread(every[TRIED].values())
    gains = [_gain_at_edge([_mean(losses[r]) for r in rates_of(p)]) for p, losses in every.items()]
    notes = [
        f"{p}: "
        + ", ".join(f"{_mean(losses[rate]):.3f} at {rate:g}" for rate in rates_of(p))
        + " times the default rates"
        for p, losses in every.items()
    ]
    return Measurements(
        {
            LESS: {
                s: over_embeddings[s] - over_rates[s] for s in over_rates if s in over_embeddings
            },
            "spread over embeddings": over_embeddings,
            "spread over rates": over_rates,
            GAINED: [max(gains)],
        },
        tuple(notes),
    )


CLAIMS = (
    Claim(
        "rate-decides-more",
        "literature",
        "The embedding decides less than the learning rate: the losses of five embeddings, each "
        "at its best rate, differ by less than those of one embedding at rates from a quarter to "
        "four times the default.",
        "Lourie et al. 2026, Small-Scale Experiments: Are We There Yet? (arXiv 2608.11859)",
        "no figures on embeddings; from 4 to 134 M parameters scaling laws appear if 256 settings "
        "of the hyperparameters are tried at each size, but not with 4",
        f"{MODELS}{', '.join(EMBEDDINGS)}, at half, once and twice the default learning rates, and "
        f"{TRIED} at a quarter and four times too. The worst of the five minus the best, less the "
        f"same of the five rates; the best rate and both ends of a spread are chosen by the mean "
        f"over seeds. If the difference of the spreads has a standard deviation of .02 over seeds, "
        f"three seeds find one of .07 in four of five cases.",
        (Criterion(LESS, most=0),),
        _works,
        _read,
        gates=(
            Gate(
                Criterion(GAINED, most=EDGE, kind="exact"),
                f"more rates: at the edge of those tried an embedding gains more than {EDGE:g}",
            ),
        ),
    ),
)
