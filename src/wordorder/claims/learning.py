"""Claims about what positions are worth to a model within the length it is trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from wordorder.claims.claim import Claim, Criterion, Plan, Reading, Results
from wordorder.claims.text_models import loss, per_seed, text_models

MODELS = "Models of 4 layers and width 128, trained on 128 tokens at a time, on the same batches; "
CLOSE = 0.02  # seeds of a model of 1 M parameters spread by .015
MORE = 2.0  # times the steps


def paired(
    plan: Plan, results: Results, position: str, baseline: str, **kind: Any
) -> dict[int, float]:
    """Return by seed how much higher the validation loss of an embedding is than another's."""
    ours, theirs = (per_seed(plan, results, p, **kind) for p in (position, baseline))
    return {s: loss(ours[s]) - loss(theirs[s]) for s in ours if s in theirs}


def mean_loss(plan: Plan, results: Results, position: str, **kind: Any) -> str:
    """Return the mean validation loss of an embedding's models, in words."""
    found = [loss(part) for part in per_seed(plan, results, position, **kind).values()]
    return (
        f"{position} {sum(found) / len(found):.3f}" if found else f"{position}: no run ended well"
    )


def _sum(plan: Plan, results: Results) -> Reading:
    found = {
        p: [part["removed"] for part in per_seed(plan, results, p).values() if "removed" in part]
        for p in ("sinusoidal", "learned")
    }
    every = [part for parts in found.values() for part in parts]
    said = [
        f"{p}: {name} {sum(part[key] for part in parts) / len(parts):+.3f}"
        for p, parts in found.items()
        if parts
        for name, key in (("without positions", "positions"), ("without words", "words"))
    ]
    both = list(zip(*found.values(), strict=False))
    return Reading(
        {
            "input minus word minus position": [part["remainder"] for part in every],
            "rise without positions": [min(p["positions"] for p in parts) for parts in both],
            "rise without words": [min(p["words"] for p in parts) for parts in both],
        },
        tuple(said),
    )


def _none_learns(plan: Plan, results: Results) -> Reading:
    rotary = per_seed(plan, results, "rotary")
    usual, more = (per_seed(plan, results, "none", steps=steps) for steps in (1.0, MORE))
    ratios = {
        s: tokens_needed(loss(usual[s]), loss(more[s]), loss(rotary[s]))
        for s in rotary
        if s in usual and s in more
    }
    gaps = paired(plan, results, "none", "rotary")
    said = [
        f"seed {s}: rotary {loss(rotary[s]):.3f}; none {loss(usual[s]):.3f} after as many tokens, "
        f"{loss(more[s]):.3f} after {MORE:g} times as many"
        for s in ratios
    ]
    if any(MORE < ratio < math.inf for ratio in ratios.values()):
        said.append(f"beyond {MORE:g} times the tokens, the ratio is the trend carried on")
    return Reading(
        {
            "tokens needed, times rotary's": [r for r in ratios.values() if r < math.inf],
            "loss over rotary's": list(gaps.values()),
        },
        tuple(said),
    )


def tokens_needed(usual: float, more: float, target: float) -> float:
    """Return how many times the tokens a loss falls to the target, straight in log tokens.

    Args:
        usual, more: the loss after the usual tokens and after twice as many.

    Returns:
        Infinity where more tokens do not lower the loss.
    """
    if more >= usual:
        return math.inf if target < usual else 1.0
    return float(MORE ** ((usual - target) / (usual - more)))


def _close(plan: Plan, results: Results) -> Reading:
    masked = paired(plan, results, "none", "learned", masked=True)
    return Reading(
        {
            "none minus learned, next token": list(
                paired(plan, results, "none", "learned").values()
            ),
            "none minus learned, masked token": list(masked.values()),
        },
        (
            f"next token: {mean_loss(plan, results, 'none')}, "
            f"{mean_loss(plan, results, 'learned')}",
            f"masked token: {mean_loss(plan, results, 'none', masked=True)}, "
            f"{mean_loss(plan, results, 'learned', masked=True)}",
        ),
    )


def _probe(plan: Plan, results: Results) -> Reading:
    found = [
        part["position-probe"]
        for part in per_seed(plan, results, "none").values()
        if "position-probe" in part
    ]
    layers = range(len(found[0])) if found else ()
    said = tuple(
        f"layer {n}: error {_mean(found, n, 'network'):.0%} of chance with a probe of two layers, "
        f"{_mean(found, n, 'linear'):.0%} with a linear one"
        for n in layers
    )
    return Reading(
        {
            "error over chance, layer 0": [part[0]["network"] for part in found],
            "error over chance, middle layer": [part[len(part) // 2]["network"] for part in found],
        },
        said,
    )


def _mean(found: list[list[Mapping[str, float]]], layer: int, kind: str) -> float:
    return sum(part[layer][kind] for part in found) / len(found)


SHORT = 64


def _short(plan: Plan, results: Results) -> Reading:
    found = paired(plan, results, "sinusoidal", "alibi", length=SHORT)
    losses = (mean_loss(plan, results, p, length=SHORT) for p in ("sinusoidal", "alibi"))
    return Reading(
        {"sinusoidal minus ALiBi": list(found.values())},
        (f"{', '.join(losses)}, at L = {SHORT}",),
    )


def _near_far(plan: Plan, results: Results) -> Reading:
    found = [
        part["near-far"]
        for part in per_seed(plan, results, "rotary").values()
        if "near-far" in part
    ]
    return Reading(
        {
            "rise, shuffled beyond 50 tokens": [part["far"] for part in found],
            "rise, shuffled within the last 20": [part["near"] for part in found],
        }
    )


HALF, QUARTER = "rotary:fraction=0.5", "rotary:fraction=0.25"


def _partial(plan: Plan, results: Results) -> Reading:
    return Reading(
        {
            "half minus full": list(paired(plan, results, HALF, "rotary").values()),
            "quarter minus full": list(paired(plan, results, QUARTER, "rotary").values()),
        }
    )


CLAIMS = (
    Claim(
        "input-is-a-sum",
        "article",
        "Final input = word embedding + positional embedding, and each half is needed.",
        "the article, 'The fix: positional embeddings'",
        "no figures",
        MODELS + "in trained models the sum is taken apart, and one half taken away.",
        (
            Criterion("input minus word minus position", most=1e-5, exact=True),
            Criterion("rise without positions", least=0.10),
            Criterion("rise without words", least=1.0),
        ),
        lambda plan: text_models(plan, "sinusoidal", "learned"),
        _sum,
    ),
    Claim(
        "none-learns-slower",
        "article",
        "A model can learn order by itself, but less efficiently: without positions it needs more "
        "tokens for the loss that rotary reaches.",
        "the article, 'Wait, can't the model just learn order by itself?'",
        "no figures; Gu et al. 2025 at 60 M: 3.81 against 3.73",
        MODELS + "none with as many tokens and with twice as many, each with its own schedule; "
        "the tokens it needs are read off straight in log tokens.",
        (
            Criterion("tokens needed, times rotary's", least=1.1),
            Criterion("loss over rotary's", least=0),
        ),
        lambda plan: [
            *text_models(plan, "none", "rotary"),
            *text_models(plan, "none", steps=MORE),
        ],
        _none_learns,
        unit="",
    ),
    Claim(
        "none-comes-close",
        "literature",
        "A causal model without positions comes close to learned ones; one that predicts masked "
        "tokens does not.",
        "Haviv et al. 2022, tables 2 and 4",
        "perplexity 22.15 against 22.04 (.005); masked 147 against 4.06 (3.59)",
        MODELS + "predicting the next token; or masked ones of 512 kinds from both sides, three "
        "times as long, for with less they learn frequencies alone.",
        (
            Criterion("none minus learned, next token", most=0.10),
            Criterion("none minus learned, masked token", least=0.5),
        ),
        lambda plan: [
            *text_models(plan, "none", "learned"),
            *text_models(plan, "none", "learned", masked=True),
        ],
        _close,
    ),
    Claim(
        "none-knows-position",
        "literature",
        "A probe reads a token's position from the middle of a causal model without positions.",
        "Haviv et al. 2022, figure 2",
        "chance at layer 0, near 0 of it in the middle",
        MODELS + "a probe of two layers on hidden states, fitted on half of the held-out documents "
        "and even positions, scored on the others and odd ones; mean error, over chance's.",
        (
            Criterion("error over chance, layer 0", least=0.9),
            Criterion("error over chance, middle layer", most=0.30),
        ),
        lambda plan: text_models(plan, "none"),
        _probe,
        unit="of chance",
    ),
    Claim(
        "alibi-no-better-short",
        "literature",
        "Trained on very short texts, ALiBi is no better than sinusoidal positions.",
        "Press et al. 2022, table 5",
        "28.46 against sinusoidal's 28.03 at L = 64 (-.015)",
        "Models of 4 layers and width 128, trained on 64 tokens at a time.",
        (Criterion("sinusoidal minus ALiBi", most=0.02),),
        lambda plan: text_models(plan, "alibi", "sinusoidal", length=SHORT),
        _short,
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
    ),
    Claim(
        "partial-rotary-no-gain",
        "literature",
        "Turning a half or a quarter of each head changes nothing at small scale.",
        "nanochat, dev/LOG.md",
        "half: no improvement; quarter: slightly worse",
        MODELS + "rotary with fraction 1, .5 and .25.",
        (
            Criterion("half minus full", least=-CLOSE, most=CLOSE),
            Criterion("quarter minus full", least=-CLOSE, most=CLOSE),
        ),
        lambda plan: text_models(plan, "rotary", HALF, QUARTER),
        _partial,
    ),
)
