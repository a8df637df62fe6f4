"""Ways to carry a rotary embedding past the length it was trained at.

Each is a pure function of the trained frequencies (pairs,) float64, highest first. It
returns new ones, and what attention multiplies its scores by: some methods sharpen the
softmax of a longer text. The papers' codes multiply queries and keys by the root of that
number; here it goes into the scale of the softmax, once.

What a function takes besides the frequencies is all that it depends on. One that takes
`context_length` turns a key differently in a longer context: such keys are never kept
rotated. `original_length` is what the model was trained at, never the size of a cache.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from .base import PositionError

Scaled = tuple[Tensor, float]


def unscaled(frequencies: Tensor) -> Scaled:
    """Return the frequencies as they are."""
    return frequencies, 1.0


def linear(frequencies: Tensor, *, factor: float) -> Scaled:
    """Position interpolation: every frequency, or every position, divided by the factor.

    Source: Chen et al. 2023, section 2.3, equation 4.
    """
    return frequencies / factor, 1.0


def ntk(frequencies: Tensor, *, factor: float) -> Scaled:
    """NTK-aware interpolation: the highest frequency stays, the lowest is divided in full.

    Changing the base b to b * s^(d / (d - 2)) multiplies frequency i of n by s^(-i / (n - 1)).
    Source: bloc97 2023; Peng et al. 2023 (YaRN), section 3.1, equations 15 and 16.
    """
    last = max(len(frequencies) - 1, 1)
    index = torch.arange(len(frequencies), dtype=torch.float64, device=frequencies.device)
    return frequencies * factor ** (-index / last), 1.0


def dynamic(
    frequencies: Tensor, *, factor: float, original_length: int, context_length: int
) -> Scaled:
    """NTK-aware interpolation by as much as the context is longer than the original.

    Source: Peng et al. 2023, section 3.3, s = max(1, l / L); `factor` other than 1 is
    transformers': s = factor * l / L - (factor - 1), which is 1 at l = L too.
    """
    longer = max(context_length, original_length) / original_length
    return ntk(frequencies, factor=factor * longer - (factor - 1))


def yarn(
    frequencies: Tensor,
    *,
    factor: float,
    original_length: int,
    beta_fast: float,
    beta_slow: float,
) -> Scaled:
    """Divide the slow frequencies, leave the fast ones, and sharpen the softmax.

    A pair that turns `beta_fast` times within the original length stays, one that turns
    `beta_slow` times is divided in full; between them falls a straight line. The paper
    draws it over the number of turns (equation 18); the authors' code, and so every
    released model, over the pair's index, between ends rounded outwards: that is here. In
    the middle of the ramp it divides less, by up to 4 at factor 40.

    Source: Peng et al. 2023, sections 3.2 and 3.4, equations 17 to 22.
    """
    pairs = len(frequencies)
    # The index at which a pair turns `beta` times; frequencies fall by one ratio throughout.
    turns = frequencies[0] * original_length / (2 * math.pi)
    step = torch.log(frequencies[0] / frequencies[-1]) / max(pairs - 1, 1)
    step = step.clamp(min=1e-9)  # one pair, or base 1
    first = torch.floor(torch.log(turns / beta_fast) / step).clamp(min=0)
    # The authors' bound is twice the pairs. Where even the fastest pair turns less than
    # `beta_slow` times, their ends cross, and would leave all as it is.
    last = torch.ceil(torch.log(turns / beta_slow) / step).clamp(max=2 * pairs - 1)
    last = torch.maximum(last, first + 0.001)
    index = torch.arange(pairs, dtype=torch.float64, device=frequencies.device)
    divided = ((index - first) / (last - first)).clamp(0, 1)
    sharper = (1 + 0.1 * math.log(factor)) ** 2
    return frequencies * (1 - divided) + frequencies / factor * divided, sharper


def longrope(
    frequencies: Tensor,
    *,
    factor: float,
    original_length: int,
    context_length: int,
    short_factors: tuple[float, ...],
    long_factors: tuple[float, ...],
) -> Scaled:
    """Divide each frequency by a searched number of its own; another set for short texts.

    Which set is chosen by the context length that the caller fixed, so that it cannot
    change in the middle of a generation. `factor` is the longest length over the original
    one and sets the softmax alone, by 1 + ln(factor) / ln(original length).

    Source: Ding et al. 2024, sections 3.1 and 3.3; the softmax is the authors' code's.
    Not here: the first tokens that the paper leaves unscaled; no released model does.
    """
    chosen = long_factors if context_length > original_length else short_factors
    divisors = torch.tensor(chosen or 1.0, dtype=torch.float64, device=frequencies.device)
    return frequencies / divisors, 1 + math.log(factor) / math.log(original_length)


def llama3(
    frequencies: Tensor,
    *,
    factor: float,
    original_length: int,
    low_frequency_factor: float,
    high_frequency_factor: float,
) -> Scaled:
    """Divide the slow frequencies, leave the fast ones; a line over the turns between them.

    A pair that turns `low_frequency_factor` times or less within the original length is
    divided, one that turns `high_frequency_factor` times or more stays.

    Source: the code released with Llama 3.1; Grattafiori et al. 2024 describe the model.
    """
    turns = frequencies * original_length / (2 * math.pi)
    span = high_frequency_factor - low_frequency_factor
    kept = ((turns - low_frequency_factor) / span).clamp(0, 1)
    return frequencies * kept + frequencies / factor * (1 - kept), 1.0


SCALINGS: dict[str, Callable[..., Scaled]] = {
    "none": unscaled,
    "linear": linear,
    "ntk": ntk,
    "dynamic": dynamic,
    "yarn": yarn,
    "longrope": longrope,
    "llama3": llama3,
}


def takes(scaling: str) -> tuple[str, ...]:
    """Return the names of all that a scaling depends on besides the frequencies."""
    parameters = inspect.signature(SCALINGS[scaling]).parameters.values()
    return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


def check(scaling: str, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raise where options do not fit a scaling: unknown, unused, or out of range.

    Args:
        options: those of `defaults`; `pairs`, how many pairs turn; `length`, the original
            length where that was left to the trained one.
        defaults: every option that belongs to a scaling, with its default.

    Raises:
        PositionError: with what to write instead.
    """
    if scaling not in SCALINGS:
        raise PositionError(f"rotary: scaling={scaling} is none of {', '.join(SCALINGS)}")
    for name, default in defaults.items():
        if options[name] != default and name not in takes(scaling):
            users = [other for other in SCALINGS if name in takes(other)]
            raise PositionError(
                f"rotary: scaling={scaling} takes no {name}: leave it out, or use "
                f"scaling={' or '.join(users)}"
            )
    for holds, wrong in _conditions(scaling, options):
        if not holds:
            raise PositionError(f"rotary: scaling={scaling} {wrong}")


def _conditions(scaling: str, given: Mapping[str, Any]) -> list[tuple[bool, str]]:
    """Return what must hold, and what to say where it does not."""
    factor, length, pairs = given["factor"], given["length"], given["pairs"]
    fast, slow = given["beta_fast"], given["beta_slow"]
    low, high = given["low_frequency_factor"], given["high_frequency_factor"]
    short, long = given["short_factors"], given["long_factors"]
    stretches = "factor" in takes(scaling) and scaling != "dynamic"
    return [
        (
            factor > 1 or not stretches,
            f"needs a factor above 1, got {factor:g}: how many times longer texts get, as factor=4",
        ),
        (factor >= 1, f"needs a factor of 1 or more, got {factor:g}"),
        (
            length > 1 or "original_length" not in takes(scaling),
            f"needs an original_length above 1 (or 0: the trained length), got {length}",
        ),
        (
            fast > slow > 0 or "beta_fast" not in takes(scaling),
            f"needs beta_fast={fast:g} above beta_slow={slow:g}, and both above 0",
        ),
        (
            high > low > 0,
            f"needs high_frequency_factor={high:g} above low_frequency_factor={low:g}, "
            "and both above 0",
        ),
        (
            len(long) == pairs or scaling != "longrope",
            f"needs long_factors with one number for each of {pairs} pairs, got {len(long)}",
        ),
        (
            len(short) in (0, pairs),
            f"needs short_factors with one number for each of {pairs} pairs, or none, "
            f"got {len(short)}",
        ),
        (min((*short, *long), default=1) > 0, "needs short_factors and long_factors above 0"),
    ]
