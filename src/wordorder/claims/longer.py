"""Claims about carrying a model past its trained length without training it any further.

Its embedding is spelled anew, its cache keeps some tokens and drops others, or its base is chosen
for a length: tried on rotary models that other claims share, on such alone, or on none. What a
fine-tune adds is in fine_tuned.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wordorder.claims.claim import Claim, Criterion, Plan, Reading, Results, Work
from wordorder.claims.lengths import PROTOCOL, TARGETS
from wordorder.claims.questions import SINKS
from wordorder.claims.text_models import LENGTH, per_seed, text_models
from wordorder.experiments.side_by_side import Tell
from wordorder.extension.base_bound import STEP, served_length, smallest_base
from wordorder.extension.methods import Stretch

UNTUNED = 4  # times the trained length, as PI's factor from 2,048 to 8,192 tokens
SINK = 0.05  # what a loss must rise by for the first tokens to be rested on
FIRST, SEVERAL = str(SINKS[0]), str(SINKS[-1])

# Men et al. 2024, for heads of 128: the smallest base for a length.
PAPERS_HEAD, PAPERS = 128, {1024: 4.3e3, 4096: 2.7e4, 8192: 8.4e4}
SMALLER_HEADS, SMALLER_AT = (32, 64, 128), 512
WIDE = 2.0  # times the smallest base: what serves up to there is no island


def ramp(factor: int) -> str:
    """Return which pairs YaRN leaves alone here, in one sentence."""
    turns = Stretch(LENGTH, factor * LENGTH, 0).beta_fast
    return (
        f"YaRN's ramp is fitted to the length: pairs that turn {turns:.1f} times or more within L "
        "are left alone; the published 32 times are for 4,096 tokens"
    )


def _untuned(plan: Plan, results: Results) -> Reading:
    parts = per_seed(plan, results, "rotary").values()
    found = [part["scalings"][str(UNTUNED)] for part in parts if "scalings" in part]
    said = ()
    if found:
        means = {name: sum(part[name] for part in found) / len(found) for name in found[0]}
        rises = ", ".join(f"{name} {mean:+.3f}" for name, mean in means.items())
        said = (f"rises from L to {UNTUNED}L, the same targets: {rises}", ramp(UNTUNED))
    return Reading(
        {
            "plain minus PI": [part["plain"] - part["interpolation"] for part in found],
            "PI minus NTK": [part["interpolation"] - part["NTK"] for part in found],
            "PI's rise": [part["interpolation"] for part in found],
        },
        said,
    )


def _sinks(plan: Plan, results: Results) -> Reading:
    parts = per_seed(plan, results, "rotary", asked=("sinks",)).values()
    found = [part["sinks"] for part in parts]
    if not found:
        return Reading({})
    means = {kept: sum(part[kept] for part in found) / len(found) for kept in found[0]}
    said = ", ".join(f"{mean:.3f} with {kept} kept" for kept, mean in means.items())
    lost = [part[FIRST] - part[SEVERAL] for part in found]
    if sum(lost) / len(lost) < SINK:
        each = ", ".join(f"{one:+.3f}" for one in lost)
        return Reading(
            {},
            (
                f"loss {said}",
                f"without the first tokens {each} by seed, below {SINK}: sinks need more data to "
                "form than these models see, so nothing is decided",
            ),
        )
    return Reading({"0 kept minus 4 kept": lost}, (f"loss {said}",))


def find_base(job: Mapping[str, Any], tell: Tell) -> dict[str, float]:
    """Return the smallest base that serves a length, and the edges of its island.

    Those are the last base from there on that serves too, and the next one after the gap.

    Args:
        job: `head`, its size, all of which turns, and `length`, in tokens.
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


def _bases(plan: Plan) -> list[Work]:
    papers = [_base(PAPERS_HEAD, length) for length in PAPERS]
    return [*papers, *(_base(head, SMALLER_AT) for head in SMALLER_HEADS)]


def _base_bound(plan: Plan, results: Results) -> Reading:
    found = {
        (work.job["head"], work.job["length"]): results[work.name]
        for work in _bases(plan)
        if work.name in results
    }
    smallest = {key: part["smallest"] for key, part in found.items()}
    papers = [
        (smallest[PAPERS_HEAD, length], theirs)
        for length, theirs in PAPERS.items()
        if (PAPERS_HEAD, length) in smallest
    ]
    at = {head: base for (head, length), base in smallest.items() if length == SMALLER_AT}
    said = [
        f"heads of {head}, {length:,} tokens: {part['smallest']:,.0f}; bases up to "
        f"{part['last']:,.0f} serve too, then none below {part['after']:,.0f}"
        for (head, length), part in found.items()
    ]
    if said:
        said.append("where so few serve, a coarser grid of bases prints another number")
    return Reading(
        {
            "relative deviation from the paper's": [
                abs(ours / theirs - 1) for ours, theirs in papers
            ],
            "base over that of heads twice the size": [
                at[head] / at[2 * head] for head in at if 2 * head in at
            ],
        },
        tuple(said),
    )


CLAIMS = (
    Claim(
        "interpolation-untuned",
        "literature",
        "Without any tuning, a rotary model reads four times its length worst as it is, better "
        "with interpolation (PI), and best with NTK.",
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
    ),
    Claim(
        "first-tokens-are-sinks",
        "literature",
        "Attention rests on the first tokens: a sliding window reads worse once they have left it.",
        "Xiao et al. 2024, table 3 (160 M parameters, a cache of 1,024)",
        "perplexity 27.87 with none kept, 18.49 with 1, 18.05 with 4 (-.434)",
        f"{PROTOCOL}texts of 512 tokens through a cache of 128 that keeps 0, 1 or 4 first ones; "
        f"the loss of the same last 64. Below {SINK:g} nothing is decided.",
        (Criterion("0 kept minus 4 kept", least=SINK),),
        lambda plan: text_models(plan, "rotary", asked=("sinks",)),
        _sinks,
    ),
    Claim(
        "base-bound",
        "literature",
        "The base of a rotary embedding bounds the length it can serve, and smaller heads need a "
        "larger one.",
        "Men et al. 2024, table 1",
        "heads of 128: 4.3e3 for 1,024 tokens, 2.7e4 for 4,096, 8.4e4 for 8,192",
        "The smallest base whose sum of cos(m theta) over pairs is at least 0 at every distance m "
        "up to the length, on a grid of .02%; heads of 32, 64 and 128 at 512 tokens.",
        (
            Criterion("relative deviation from the paper's", most=0.02, exact=True),
            Criterion("base over that of heads twice the size", least=1, exact=True),
        ),
        _bases,
        _base_bound,
        unit="",
    ),
)
