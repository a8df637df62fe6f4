"""Claims about contexts longer than the trained length.

Disjoint windows of another length have other targets, most of them with more context, so that their
loss may fall although no token is predicted better. The same targets with growing context show the
effect of context itself. Papers mostly report the first, so criteria from papers use it; both are
reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from wordorder.claims.claim import FAILS, HOLDS, Claim, ClaimPlan, Criterion, Measurements, Results
from wordorder.claims.intervals import Quantity
from wordorder.claims.measurements import SCALED
from wordorder.claims.text_models import (
    FACTORS,
    WORTH,
    differences,
    gains,
    loss,
    loss_at,
    per_seed,
    rise,
    text_models,
    uses_context,
)

TOLERANCE = 0.03  # ALiBi's loss rises by .018 at six times its trained length
PROTOCOL = (
    "Models of 4 layers and width 128, trained on 128 tokens at a time, on the same batches; "
)
WHOLE = PROTOCOL + "whole windows of each length."
TARGETS = PROTOCOL + "the same targets with growing context."
PRESS = "Press et al. 2022, table 2 (whole windows, 247 M parameters, L = 512)"
SEVERAL = ("kerple", "fire", "alibi", "rotary")
SHARPENED = ("rotary", "none")  # each with and without log-n temperature


def rises(
    plan: ClaimPlan, results: Results, position: str, factor: float, *, same_targets: bool = False
) -> dict[int, float]:
    """Return the rise of the loss at a multiple of the length by seed, where it was measured."""
    rises = {
        seed: rise(part, factor, same_targets=same_targets)
        for seed, part in per_seed(plan, results, position).items()
    }
    return {seed: value for seed, value in rises.items() if value is not None}


def curve(plan: ClaimPlan, results: Results, position: str, *, same_targets: bool) -> str:
    """Return the mean rises at every length in one line."""
    words = []
    for factor in FACTORS[1:]:
        values = rises(plan, results, position, factor, same_targets=same_targets).values()
        mean = f"{sum(values) / len(values):+.3f}" if values else "cannot"
        words.append(f"{mean} at {factor}L")
    kind = "the same targets" if same_targets else "whole windows"
    return f"{position}, {kind}: {', '.join(words)}"


def curves(plan: ClaimPlan, results: Results, *positions: str) -> tuple[str, ...]:
    """Return a line for each embedding and kind of window."""
    return tuple(
        curve(plan, results, position, same_targets=same)
        for position in positions
        if per_seed(plan, results, position)
        for same in (False, True)
    )


def _sinusoidal(plan: ClaimPlan, results: Results) -> Measurements:
    return Measurements(
        {
            "rise at 2L": rises(plan, results, "sinusoidal", 2),
            **gains(plan, results, "sinusoidal"),
        },
        curves(plan, results, "sinusoidal"),
    )


def _sinusoidal_survives(plan: ClaimPlan, results: Results) -> Measurements:
    return Measurements(
        {
            "rise at 2L, same targets": rises(plan, results, "sinusoidal", 2, same_targets=True),
            **gains(plan, results, "sinusoidal"),
        },
        curves(plan, results, "sinusoidal"),
    )


def _rotary(plan: ClaimPlan, results: Results) -> Measurements:
    rotary = rises(plan, results, "rotary", 5)
    sinusoidal = rises(plan, results, "sinusoidal", 5)
    return Measurements(
        {
            "rise at 5L": rotary,
            "rise at 5L over sinusoidal's": {
                s: rotary[s] - sinusoidal[s] for s in rotary if s in sinusoidal
            },
            **gains(plan, results, "rotary"),
        },
        curves(plan, results, "rotary", "sinusoidal"),
    )


def _t5(plan: ClaimPlan, results: Results) -> Measurements:
    return Measurements(
        {"rise at 2L": rises(plan, results, "t5", 2), **gains(plan, results, "t5")},
        curves(plan, results, "t5"),
    )


def _alibi(plan: ClaimPlan, results: Results) -> Measurements:
    return Measurements(
        {
            "rise at 8L, whole windows": rises(plan, results, "alibi", 8),
            "rise at 8L, same targets": rises(plan, results, "alibi", 8, same_targets=True),
            **gains(plan, results, "alibi"),
        },
        curves(plan, results, "alibi"),
    )


def _several(plan: ClaimPlan, results: Results) -> Measurements:
    results_of_each = {p: per_seed(plan, results, p) for p in SEVERAL}
    notes = tuple(
        f"{p}: loss {sum(map(loss, part.values())) / len(part):.3f} within the length"
        for p, part in results_of_each.items()
        if part
    )
    pairs = {
        _pair(one, other): differences(results_of_each[one], results_of_each[other])
        for one, other in combinations(SEVERAL, 2)
    }
    return Measurements(
        {
            **pairs,
            "KERPLE's rise at 2L": rises(plan, results, "kerple", 2),
            **gains(plan, results, "kerple"),
        },
        (*notes, *curves(plan, results, "kerple", "fire")),
    )


def _pair(one: str, other: str) -> str:
    return f"{one} minus {other}, in length"


def sharpened(position: str) -> str:
    """Return the spec of an embedding with log-n temperature."""
    return f"{position}+log-temperature"


def _sharper(position: str, factor: int) -> str:
    return f"{position} with minus without, at {factor}L"


def _log_temperature(plan: ClaimPlan, results: Results) -> Measurements:
    quantities: dict[str, Quantity] = {}
    for position in SHARPENED:
        pair = (sharpened(position), position)
        parts = [per_seed(plan, results, p) for p in pair]
        seeds = [s for s in parts[0] if s in parts[1]]
        for factor in FACTORS:
            losses = {s: [loss_at(part[s], factor) for part in parts] for s in seeds}
            quantities[_sharper(position, factor)] = {
                s: ours - theirs
                for s, (ours, theirs) in losses.items()
                if ours is not None and theirs is not None
            }
        quantities |= gains(plan, results, sharpened(position))
    both = [p for position in SHARPENED for p in (position, sharpened(position))]
    return Measurements(quantities, curves(plan, results, *both))


def _learned(plan: ClaimPlan, results: Results) -> Measurements:
    parts = per_seed(plan, results, "learned")
    resampled = {s: part["resampled"] for s, part in parts.items() if "resampled" in part}
    notes = [part["refused"] for part in resampled.values() if part["refused"]][:1]
    return Measurements(
        {
            "refused past L": [float(bool(part["refused"])) for part in resampled.values()],
            "rise at 2L, table stretched": {s: part["rise"] for s, part in resampled.items()},
        },
        tuple(notes),
    )


def _rotary_long(plan: ClaimPlan, results: Results) -> Measurements:
    parts = per_seed(plan, results, "rotary")
    scalings = {s: part["scalings"] for s, part in parts.items() if "scalings" in part}
    shifts = {s: _shift(part) for s, part in parts.items()}
    notes = []
    for factor in map(str, SCALED) if scalings else ():
        every = [part[factor] for part in scalings.values()]
        words = [f"{n} {sum(part[n] for part in every) / len(every):+.3f}" for n in every[0]]
        notes.append(f"at {factor}L, the same targets: {', '.join(words)}")
    return Measurements(
        {
            "change when all positions grow by L": {
                s: abs(shift) for s, shift in shifts.items() if shift is not None
            },
            "rise at 2L, same targets": {s: part["2"]["plain"] for s, part in scalings.items()},
            **gains(plan, results, "rotary"),
        },
        tuple(notes),
    )


def _shift(results: Mapping[str, Any]) -> Any:
    """Return the change in loss when all positions are shifted; None if not measured."""
    for part in results["order"]:
        if part["change"] == "shifted" and "loss" in part:
            return part["loss"] - part["plain"]
    return None


CLAIMS = (
    Claim(
        "sinusoidal-generalises",
        "article",
        "Sinusoids let a model generalise to sequences longer than it has seen.",
        "the article, 'Why use sinusoids?'; Vaswani et al. 2017, section 3.5, who hoped for it",
        "no figures; the literature says poorly (see sinusoidal-breaks)",
        TARGETS + " Surviving is a rise of at most .03.",
        (Criterion("rise at 2L, same targets", most=TOLERANCE),),
        lambda plan: text_models(plan, "sinusoidal"),
        _sinusoidal_survives,
        gates=(uses_context("sinusoidal", spares=(FAILS,)),),
        causes={
            "rise at 2L, same targets": "the vectors of positions beyond the trained length never "
            "occurred in training; Press et al. 2022 measured the same (+.78 at 2L)"
        },
    ),
    Claim(
        "learned-ends",
        "article",
        "Learned positions struggle with sequences longer than those they were trained on.",
        "the article, 'Learned positional embeddings'",
        "by construction: there is no vector to add",
        PROTOCOL + "one token more than L, then the table interpolated to 2L: disjoint windows of "
        "2L against L.",
        (
            Criterion("refused past L", least=1, kind="exact"),
            Criterion("rise at 2L, table stretched", least=0),
        ),
        lambda plan: text_models(plan, "learned"),
        _learned,
    ),
    Claim(
        "rotary-suits-long",
        "article",
        "Rotary suits long contexts: it depends on distances alone, and works at twice its "
        "trained length.",
        "the article, 'What about new techniques?'",
        "no figures; Press et al. 2022: 20.07 to 21.37 at 2L (+.063)",
        TARGETS + " Surviving is a rise of at most .03, without scaling; the result of each "
        "scaling, without tuning, is reported too.",
        (
            Criterion("change when all positions grow by L", most=0.001),
            Criterion("rise at 2L, same targets", most=TOLERANCE),
        ),
        lambda plan: text_models(plan, "rotary"),
        _rotary_long,
        gates=(uses_context("rotary", "rise at 2L, same targets", spares=(FAILS,)),),
        seeds_needed=5,
        causes={
            "rise at 2L, same targets": "slow pairs reach angles that never occurred in training; "
            "Press et al. 2022 measured the same (+.063 at 2L)"
        },
    ),
    Claim(
        "sinusoidal-breaks",
        "literature",
        "Sinusoidal positions break soon past the trained length.",
        PRESS,
        "perplexity 20.05 at L, 43.54 at 2L (+.78)",
        WHOLE,
        (Criterion("rise at 2L", least=0.30),),
        lambda plan: text_models(plan, "sinusoidal"),
        _sinusoidal,
        gates=(uses_context("sinusoidal", spares=(HOLDS,)),),
    ),
    Claim(
        "rotary-breaks-later",
        "literature",
        "Rotary breaks too, later than sinusoidal.",
        PRESS,
        "20.07 at L, 21.37 at 2L, 31.58 at 5L (+.45); sinusoidal 132.4 (+1.89)",
        WHOLE,
        (
            Criterion("rise at 5L", least=0.10),
            Criterion("rise at 5L over sinusoidal's", most=0),
        ),
        lambda plan: text_models(plan, "rotary", "sinusoidal"),
        _rotary,
        gates=(uses_context("rotary", spares=(HOLDS,)),),
    ),
    Claim(
        "t5-lasts",
        "literature",
        "T5's bias lasts to twice the trained length.",
        PRESS,
        "19.65 at L, 18.79 at 2L (-.045), 20.41 at 5L, 29.54 at 11L",
        WHOLE,
        (Criterion("rise at 2L", most=0),),
        lambda plan: text_models(plan, "t5"),
        _t5,
        gates=(uses_context("t5"),),
    ),
    Claim(
        "alibi-survives",
        "literature",
        "ALiBi survives any length, but does not use it.",
        f"{PRESS}; tables 13 to 15 (sliding windows)",
        "19.73 at L, 18.31 at 30L (-.075) on whole windows; sliding, 17.98 to 18.30 at 6L (+.018)",
        PROTOCOL + "whole windows, and the same targets with growing context.",
        (
            Criterion("rise at 8L, whole windows", most=0),
            Criterion("rise at 8L, same targets", least=-TOLERANCE, most=TOLERANCE),
        ),
        lambda plan: text_models(plan, "alibi"),
        _alibi,
        gates=(
            uses_context("alibi", "rise at 8L, whole windows"),
            uses_context("alibi", "rise at 8L, same targets", spares=(FAILS,)),
        ),
    ),
    Claim(
        "biases-agree",
        "literature",
        "KERPLE, FIRE, ALiBi and rotary agree within the trained length, every two of them within "
        ".03; KERPLE improves at twice.",
        "CABLE, table 4 (44 M); DAPE V2 (125 M)",
        "perplexity 28.81 to 29.56 (.026 apart); KERPLE 4.57 at L, 4.37 at 2L (-.045), 9.08 at 16L",
        WHOLE,
        (
            *(
                Criterion(_pair(one, other), least=-TOLERANCE, most=TOLERANCE)
                for one, other in combinations(SEVERAL, 2)
            ),
            Criterion("KERPLE's rise at 2L", most=0),
        ),
        lambda plan: text_models(plan, *SEVERAL),
        _several,
        gates=(uses_context("kerple", "KERPLE's rise at 2L"),),
        seeds_needed=10,
    ),
    Claim(
        "log-temperature-past-the-length",
        "literature",
        "Past the trained length log-n temperature lowers the loss by .01 nats or more, with "
        "rotary and without positions.",
        "Nakanishi 2025, Scalable-Softmax Is Superior for Attention, the figure of the loss at "
        "longer contexts",
        "a lower loss at every context up to 20 times the trained length (162 M parameters, "
        "rotary), no table",
        TARGETS + "Each embedding with and without log-n temperature, the loss with it minus the "
        "loss without. These models see far fewer tokens than the "
        "source's models. If the differences of seeds have a standard deviation of .03, as the "
        "rises of rotary have, five seeds show a lowering of .06 in four of five cases.",
        tuple(
            Criterion(_sharper(position, factor), most=-WORTH)
            for position in SHARPENED
            for factor in FACTORS[1:]
        ),
        lambda plan: text_models(
            plan, *SHARPENED, *(sharpened(position) for position in SHARPENED)
        ),
        _log_temperature,
        gates=tuple(
            uses_context(
                sharpened(position), *(_sharper(position, factor) for factor in FACTORS[1:])
            )
            for position in SHARPENED
        ),
        seeds_needed=5,
    ),
)
