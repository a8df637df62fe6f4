"""Claims about the value of positions within the trained length."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from wordorder.claims.claim import (
    FAILS,
    HOLDS,
    Claim,
    ClaimPlan,
    Criterion,
    Gate,
    Measurements,
    Results,
)
from wordorder.claims.intervals import Gains
from wordorder.claims.text_models import (
    WORTH,
    differences,
    gains,
    loss,
    per_seed,
    text_models,
    uses_context,
)
from wordorder.experiments.statistics import Interval

MODELS = "Models of 4 layers and width 128, trained on 128 tokens at a time, on the same batches; "
CLOSE = 0.02  # the losses of seeds of a model of 1 M parameters have a standard deviation of .015
MORE = 2.0  # times the steps
MOST_DOUBLINGS = 10  # of tokens, beyond which an extrapolation says nothing
AT_LEAST = 1.1  # tokens that a model without positions needs, relative to rotary
STILL_ABOVE = f"none after {AT_LEAST:g} times the tokens, minus rotary"
MASKED = "none minus learned, masked token"
MASKED_LEARNED = "learned below word frequencies, masked token"
# A bag of words is .5 nats below word frequencies: a larger gain needs their order.
MORE_THAN_WORDS = 1.0
CUT = "rise, cut beyond 50 tokens"


def paired(
    plan: ClaimPlan, results: Results, position: str, baseline: str, **kind: Any
) -> dict[int, float]:
    """Return the difference of two embeddings' validation losses by seed."""
    return differences(*(per_seed(plan, results, p, **kind) for p in (position, baseline)))


def mean_loss(plan: ClaimPlan, results: Results, position: str, **kind: Any) -> str:
    """Return the mean validation loss of an embedding's models as text."""
    losses = [loss(part) for part in per_seed(plan, results, position, **kind).values()]
    return (
        f"{position} {sum(losses) / len(losses):.3f}"
        if losses
        else f"{position}: no run ended well"
    )


def _sum(plan: ClaimPlan, results: Results) -> Measurements:
    parts = {p: per_seed(plan, results, p) for p in ("sinusoidal", "learned")}
    removed = {
        p: {s: part["removed"] for s, part in of_seeds.items() if "removed" in part}
        for p, of_seeds in parts.items()
    }
    notes = [
        f"{p}: {name} {sum(part[key] for part in parts.values()) / len(parts):+.3f}"
        for p, parts in removed.items()
        if parts
        for name, key in (("without positions", "positions"), ("without words", "words"))
    ]
    seeds = sorted(set.intersection(*(set(parts) for parts in removed.values())))
    least = {
        half: {s: min(parts[s][half] for parts in removed.values()) for s in seeds}
        for half in ("positions", "words")
    }
    return Measurements(
        {
            "input minus word minus position": [
                part["remainder"] for parts in removed.values() for part in parts.values()
            ],
            **{f"rise without {half}": values for half, values in least.items()},
        },
        tuple(notes),
    )


def _none_learns(plan: ClaimPlan, results: Results) -> Measurements:
    rotary = per_seed(plan, results, "rotary")
    usual, more = (per_seed(plan, results, "none", steps=steps) for steps in (1.0, MORE))
    losses = {
        s: (loss(usual[s]), loss(more[s]), loss(rotary[s]))
        for s in rotary
        if s in usual and s in more
    }
    notes = [
        f"seed {s}: rotary {target:.3f}; none {first:.3f} after as many tokens, {second:.3f} after "
        f"{MORE:g} times as many: it needs {_times(tokens_needed(first, second, target))}"
        for s, (first, second, target) in losses.items()
    ]
    return Measurements(
        {
            STILL_ABOVE: {
                s: loss_after(AT_LEAST, first, second) - target
                for s, (first, second, target) in losses.items()
            },
            "loss over rotary's": paired(plan, results, "none", "rotary"),
        },
        tuple(notes),
    )


def _times(ratio: float) -> str:
    if ratio == math.inf:
        return "an unknown number of tokens, because more tokens hardly lower its loss"
    beyond = ", by extrapolation" if ratio > MORE else ""
    return f"{ratio:.2f} times the tokens{beyond}"


def loss_after(times: float, usual: float, more: float) -> float:
    """Return the loss after a multiple of the usual tokens, linear in log tokens.

    Args:
        usual, more: the loss after the usual tokens and after twice as many.
    """
    return usual - (usual - more) * math.log(times, MORE)


def tokens_needed(usual: float, more: float, target: float) -> float:
    """Return the multiple of the tokens at which a loss reaches a target, linear in log tokens.

    Args:
        usual, more: the loss after the usual tokens and after twice as many.

    Returns:
        Infinity if more tokens do not lower the loss, or hardly do.
    """
    if more >= usual:
        return math.inf if target < usual else 1.0
    doublings = (usual - target) / (usual - more)
    return math.inf if doublings > MOST_DOUBLINGS else float(MORE**doublings)


def _close(plan: ClaimPlan, results: Results) -> Measurements:
    learned = per_seed(plan, results, "learned", masked=True)
    below = {
        s: part["word-frequencies"] - loss(part)
        for s, part in learned.items()
        if "word-frequencies" in part
    }
    return Measurements(
        {
            "none minus learned, next token": paired(plan, results, "none", "learned"),
            MASKED: paired(plan, results, "none", "learned", masked=True),
            MASKED_LEARNED: below,
        },
        (
            f"next token: {mean_loss(plan, results, 'none')}, "
            f"{mean_loss(plan, results, 'learned')}",
            f"masked token: {mean_loss(plan, results, 'none', masked=True)}, "
            f"{mean_loss(plan, results, 'learned', masked=True)}",
        ),
    )


def _probe(plan: ClaimPlan, results: Results) -> Measurements:
    parts = per_seed(plan, results, "none")
    by_seed = {s: part["position-probe"] for s, part in parts.items() if "position-probe" in part}
    probes = list(by_seed.values())
    layers = range(len(probes[0])) if probes else ()
    notes = tuple(
        f"layer {n}: error {_mean(probes, n, 'network'):.0%} of chance with a probe of two layers, "
        f"{_mean(probes, n, 'linear'):.0%} with a linear one"
        for n in layers
    )
    return Measurements(
        {
            "error over chance, layer 0": {s: part[0]["network"] for s, part in by_seed.items()},
            "error over chance, middle layer": {
                s: part[len(part) // 2]["network"] for s, part in by_seed.items()
            },
            **gains(plan, results, "none"),
        },
        notes,
    )


def _mean(probes: list[list[Mapping[str, float]]], layer: int, kind: str) -> float:
    return sum(part[layer][kind] for part in probes) / len(probes)


SHORT = 64
# Of the default rates, the best in the trials of evidence/ten-million-words/rates.jsonl, where the
# default ones are best for ALiBi.
RATE_OF_SINUSOIDAL = 0.5


def _short(plan: ClaimPlan, results: Results) -> Measurements:
    kinds: dict[str, dict[str, Any]] = {
        "sinusoidal": {"length": SHORT, "rate": RATE_OF_SINUSOIDAL},
        "alibi": {"length": SHORT},
    }
    parts = [per_seed(plan, results, position, **kind) for position, kind in kinds.items()]
    losses = [mean_loss(plan, results, position, **kind) for position, kind in kinds.items()]
    return Measurements(
        {"sinusoidal minus ALiBi": differences(*parts)},
        (f"{', '.join(losses)}, at L = {SHORT}",),
    )


def _near_far(plan: ClaimPlan, results: Results) -> Measurements:
    parts = per_seed(plan, results, "rotary")
    by_seed = {s: part["near-far"] for s, part in parts.items() if "near-far" in part}
    return Measurements(
        {
            "rise, shuffled beyond 50 tokens": {s: part["far"] for s, part in by_seed.items()},
            "rise, shuffled within the last 20": {s: part["near"] for s, part in by_seed.items()},
            CUT: Gains({s: Interval(**part["cut"]) for s, part in by_seed.items()}),
        }
    )


HALF, QUARTER = "rotary:fraction=0.5", "rotary:fraction=0.25"


def _partial(plan: ClaimPlan, results: Results) -> Measurements:
    return Measurements(
        {
            "half minus full": paired(plan, results, HALF, "rotary"),
            "quarter minus full": paired(plan, results, QUARTER, "rotary"),
        }
    )


CLAIMS = (
    Claim(
        "input-is-a-sum",
        "article",
        "Final input = word embedding + positional embedding, and each half is needed.",
        "the article, 'The fix: positional embeddings'",
        "no figures",
        MODELS + "in trained models the sum is verified, and one summand is removed.",
        (
            Criterion("input minus word minus position", most=1e-5, kind="exact"),
            Criterion("rise without positions", least=0.10),
            Criterion("rise without words", least=1.0),
        ),
        lambda plan: text_models(plan, "sinusoidal", "learned"),
        _sum,
    ),
    Claim(
        "none-learns-slower",
        "article",
        "A model can learn order by itself, but less efficiently: without positions it needs at "
        "least a tenth more tokens to reach the loss of rotary.",
        "the article, 'Wait, can't the model just learn order by itself?'",
        "no figures; Gu et al. 2025 at 60 M: 3.81 against 3.73",
        MODELS + "none with as many tokens and with twice as many, each with its own schedule; "
        "its loss in between is interpolated linearly in log tokens. It needs at least "
        f"{AT_LEAST:g} times the tokens if its loss after so many is still above rotary's.",
        (
            Criterion(STILL_ABOVE, least=0),
            Criterion("loss over rotary's", least=0),
        ),
        lambda plan: [
            *text_models(plan, "none", "rotary"),
            *text_models(plan, "none", steps=MORE),
        ],
        _none_learns,
    ),
    Claim(
        "none-comes-close",
        "literature",
        "A causal model without positions comes close to learned ones; one that predicts masked "
        "tokens does not.",
        "Haviv et al. 2022, tables 2 and 4",
        "perplexity 22.15 against 22.04 (.005); masked 147 against 4.06 (3.59)",
        MODELS + "trained on the next token; or on masked tokens with a vocabulary of 512 and "
        "three times the steps, because with fewer steps they learn word frequencies only.",
        (
            Criterion("none minus learned, next token", most=0.10),
            Criterion(MASKED, least=0.5),
        ),
        lambda plan: [
            *text_models(plan, "none", "learned"),
            *text_models(plan, "none", "learned", masked=True),
        ],
        _close,
        gates=(
            Gate(
                Criterion(MASKED_LEARNED, least=MORE_THAN_WORDS),
                "training until the model with learned positions uses order, not only word "
                "frequencies",
                of=(MASKED,),
            ),
        ),
    ),
    Claim(
        "none-knows-position",
        "literature",
        "A probe finds a token's position in the middle layer of a causal model without positions.",
        "Haviv et al. 2022, figure 2",
        "chance at layer 0, near 0 of it in the middle",
        MODELS + "a probe of two layers on hidden states, fitted on half of the held-out documents "
        "and even positions, scored on the others and odd ones; mean error, over chance's.",
        (
            Criterion("error over chance, layer 0", least=0.9, neutral=None),
            Criterion("error over chance, middle layer", most=0.30, neutral=None),
        ),
        lambda plan: text_models(plan, "none"),
        _probe,
        unit="of chance",
        gates=(uses_context("none", "error over chance, middle layer", spares=(HOLDS,)),),
        causes={
            "error over chance, middle layer": "these models see 0.6 M tokens, the source's 2,600 "
            "M; the error still falls with training, from .83 of chance to .73 after six times the "
            "steps"
        },
    ),
    Claim(
        "alibi-no-better-short",
        "literature",
        "Trained on very short texts, ALiBi is no better than sinusoidal positions.",
        "Press et al. 2022, table 5",
        "28.46 against sinusoidal's 28.03 at L = 64 (-.015)",
        "Models of 4 layers and width 128, trained on 64 tokens at a time; sinusoidal at half of "
        "the default rates, its best in the ten-million-word table.",
        (Criterion("sinusoidal minus ALiBi", most=0.02),),
        lambda plan: [
            *text_models(plan, "alibi", length=SHORT),
            *text_models(plan, "sinusoidal", length=SHORT, rate=RATE_OF_SINUSOIDAL),
        ],
        _short,
        causes={
            "sinusoidal minus ALiBi": "after 0.6 to 2 M tokens ALiBi's preference for near tokens "
            "still helps; the source's models, trained for 205 epochs on 103 M tokens, have "
            "learned it"
        },
    ),
    Claim(
        "order-matters-near",
        "literature",
        "The order of words matters near by, little far away.",
        "Khandelwal et al. 2018; O'Connor and Andreas 2021",
        "local order within the last 20 tokens, global order within 50",
        MODELS + "rotary; the loss of one token when the order beyond 50 tokens before it, or of "
        "the last 20, is shuffled.",
        (
            Criterion("rise, shuffled beyond 50 tokens", most=0.02),
            Criterion("rise, shuffled within the last 20", least=0.30),
        ),
        lambda plan: text_models(plan, "rotary"),
        _near_far,
        gates=(
            Gate(
                Criterion(CUT, least=WORTH),
                "a model that benefits from tokens beyond 50, in any order",
                of=("rise, shuffled beyond 50 tokens",),
                spares=(FAILS,),
            ),
        ),
    ),
    Claim(
        "partial-rotary-no-gain",
        "literature",
        "At small scale rotating half of each head's dimensions is no improvement, and a quarter "
        "is worse.",
        "nanochat, dev/LOG.md",
        "half: no improvement; quarter: slightly worse",
        MODELS + f"rotary with fraction 1, .5 and .25. An improvement is {CLOSE:g} nats or more.",
        (
            Criterion("half minus full", least=-CLOSE),
            Criterion("quarter minus full", least=0),
        ),
        lambda plan: text_models(plan, "rotary", HALF, QUARTER),
        _partial,
        seeds_needed=7,
    ),
)
