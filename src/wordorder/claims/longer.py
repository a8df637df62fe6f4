"""Claims about using a model beyond its trained length without further training.

The embedding is scaled, the cache evicts tokens, or the base is chosen for a length. Most use the
rotary models that other claims share. Fine-tuning is in fine_tuned.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wordorder.claims.claim import (
    HOLDS,
    Claim,
    ClaimPlan,
    Criterion,
    Gate,
    Measurements,
    Results,
    Work,
)
from wordorder.claims.lengths import PROTOCOL, TARGETS
from wordorder.claims.measurements import SINKS
from wordorder.claims.text_models import LENGTH, gains, per_seed, text_models, uses_context
from wordorder.experiments.jobs import Tell
from wordorder.extension.base_bound import STEP, served_length, smallest_base
from wordorder.extension.methods import Stretch

UNTUNED = 4  # times the trained length, as PI's factor from 2,048 to 8,192 tokens
SINK = 0.05  # the smallest rise of the loss that shows attention sinks
ATTENDED = "share of attention on the first token"
# Ten times the share of each of 128 tokens under uniform attention.
RESTED = 0.08
FIRST, SEVERAL = str(SINKS[0]), str(SINKS[-1])

# Men et al. 2024, for heads of 128: the smallest base for a length.
PAPERS_HEAD, PAPERS = 128, {1024: 4.3e3, 4096: 2.7e4, 8192: 8.4e4}
SMALLER_HEADS, SMALLER_AT = (32, 64, 128), 512
WIDE = 2.0  # relative to the smallest base; a range that reaches this far is not an island


def ramp(factor: int) -> str:
    """Describe which pairs YaRN leaves unscaled here."""
    turns = Stretch(LENGTH, factor * LENGTH, 0).beta_fast
    return (
        f"YaRN's ramp is fitted to the length: pairs with {turns:.1f} or more rotations within L "
        f"stay unscaled; the published 32 are for 4,096 tokens"
    )


def _untuned(plan: ClaimPlan, results: Results) -> Measurements:
    parts = per_seed(plan, results, "rotary")
    rises_by_seed = {
        s: part["scalings"][str(UNTUNED)] for s, part in parts.items() if "scalings" in part
    }
    notes: tuple[str, ...] = ()
    if rises_by_seed:
        names = next(iter(rises_by_seed.values()))
        means = {
            n: sum(part[n] for part in rises_by_seed.values()) / len(rises_by_seed) for n in names
        }
        rises = ", ".join(f"{name} {mean:+.3f}" for name, mean in means.items())
        notes = (f"rises from L to {UNTUNED}L, the same targets: {rises}", ramp(UNTUNED))
    return Measurements(
        {
            "plain minus PI": {
                s: p["plain"] - p["interpolation"] for s, p in rises_by_seed.items()
            },
            "PI minus NTK": {s: p["interpolation"] - p["NTK"] for s, p in rises_by_seed.items()},
            "PI's rise": {s: p["interpolation"] for s, p in rises_by_seed.items()},
            **gains(plan, results, "rotary"),
        },
        notes,
    )


def _sinks(plan: ClaimPlan, results: Results) -> Measurements:
    parts = per_seed(plan, results, "rotary", measurements=("sinks",))
    losses = {s: part["sinks"] for s, part in parts.items()}
    if not losses:
        return Measurements({})
    means = {
        count: sum(part[count] for part in losses.values()) / len(losses)
        for count in map(str, SINKS)
    }
    notes = ", ".join(f"{mean:.3f} with {count} kept" for count, mean in means.items())
    return Measurements(
        {
            "0 kept minus 4 kept": {s: part[FIRST] - part[SEVERAL] for s, part in losses.items()},
            ATTENDED: {s: part["attended"] for s, part in losses.items()},
        },
        (f"loss {notes}",),
    )


def find_base(job: Mapping[str, Any], tell: Tell) -> dict[str, float]:
    """Return the smallest base that supports a length, and the edges of its island.

    The edges are the last base of the island, and the next supporting base after the gap.

    Args:
        job: `head`, the head size, all of it rotated, and `length`, in tokens.
    """
    length, pairs = job["length"], job["head"] // 2
    smallest = smallest_base(length, pairs)
    assert smallest is not None

    def serves(base: float) -> bool:
        return served_length(base, pairs, length) == length

    last = smallest
    while last < WIDE * smallest and serves(last * STEP):
        last *= STEP
    after = last * STEP
    while not serves(after):
        after *= STEP
    return {"smallest": smallest, "last": last, "after": after}


def _base(head: int, length: int) -> Work:
    job = {"head": head, "length": length}
    return Work(f"exact/base-{head}-{length}", find_base, job, 0.5 + length / 2000)


def _bases(plan: ClaimPlan) -> list[Work]:
    papers = [_base(PAPERS_HEAD, length) for length in PAPERS]
    return [*papers, *(_base(head, SMALLER_AT) for head in SMALLER_HEADS)]


def _base_bound(plan: ClaimPlan, results: Results) -> Measurements:
    bounds = {
        (work.job["head"], work.job["length"]): results[work.name]
        for work in _bases(plan)
        if work.name in results
    }
    smallest = {key: part["smallest"] for key, part in bounds.items()}
    papers = [
        (smallest[PAPERS_HEAD, length], theirs)
        for length, theirs in PAPERS.items()
        if (PAPERS_HEAD, length) in smallest
    ]
    at = {head: base for (head, length), base in smallest.items() if length == SMALLER_AT}
    notes = [
        f"heads of {head}, {length:,} tokens: {part['smallest']:,.0f}; bases up to "
        f"{part['last']:,.0f} support it too, then none below {part['after']:,.0f}"
        for (head, length), part in bounds.items()
    ]
    if notes:
        notes.append("with so few supporting bases, a coarser grid gives another number")
    return Measurements(
        {
            "relative deviation from the paper's": [
                abs(ours / theirs - 1) for ours, theirs in papers
            ],
            "base over that of heads twice the size": [
                at[head] / at[2 * head] for head in at if 2 * head in at
            ],
        },
        tuple(notes),
    )


CLAIMS = (
    Claim(
        "interpolation-untuned",
        "literature",
        "Without any tuning, a rotary model is worst at four times its length without scaling, "
        "better with interpolation (PI), and best with NTK.",
        "Chen et al. 2023, tables 1 and 3 (PI); Ding et al. 2024, table 1 (PI and dynamic NTK)",
        "PI 7.20 to 16.10 at factor 4 (+.80), plain above 1,000; PI 10.65, dynamic NTK 10.21 "
        "(-.04); YaRN's place differs from text to text",
        f"{TARGETS} Rotary from 128 to 512 tokens.",
        (
            Criterion("plain minus PI", least=0),
            Criterion("PI minus NTK", least=0),
            Criterion("PI's rise", least=0.2, most=1.5),
        ),
        lambda plan: text_models(plan, "rotary"),
        _untuned,
        gates=(uses_context("rotary"),),
    ),
    Claim(
        "first-tokens-are-sinks",
        "literature",
        "The first tokens are attention sinks: with a sliding window the loss rises once they "
        "leave it.",
        "Xiao et al. 2024, table 3 (160 M parameters, a cache of 1,024)",
        "perplexity 27.87 with none kept, 18.49 with 1, 18.05 with 4 (-.434)",
        f"{PROTOCOL}texts of 512 tokens with a cache of 128 that keeps the first 0, 1 or 4 "
        f"tokens; the loss of the same last 64. The gate is a share of attention on the first "
        f"token of {RESTED:g}, ten times that of uniform attention.",
        (Criterion("0 kept minus 4 kept", least=SINK),),
        lambda plan: text_models(plan, "rotary", measurements=("sinks",)),
        _sinks,
        gates=(
            Gate(
                Criterion(ATTENDED, least=RESTED),
                "more training: sinks form after some two hundred million tokens",
                spares=(HOLDS,),
            ),
        ),
    ),
    Claim(
        "base-bound",
        "literature",
        "The base of a rotary embedding bounds the length that it supports, and smaller heads "
        "need a larger one.",
        "Men et al. 2024, table 1",
        "heads of 128: 4.3e3 for 1,024 tokens, 2.7e4 for 4,096, 8.4e4 for 8,192",
        "The smallest base whose sum of cos(m theta) over pairs is at least 0 at every distance m "
        "up to the length, on a grid of .02%; heads of 32, 64 and 128 at 512 tokens.",
        (
            Criterion("relative deviation from the paper's", most=0.02, kind="exact"),
            Criterion("base over that of heads twice the size", least=1, kind="exact"),
        ),
        _bases,
        _base_bound,
        unit="",
    ),
)
