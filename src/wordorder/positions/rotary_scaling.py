"""Methods to extend a rotary embedding past the length it was trained at.

Each method is a pure function of the trained frequencies (pairs,) float64, highest first. It
returns new frequencies and a factor for the scores, because some methods sharpen the softmax
of a longer sequence. The papers' codes multiply queries and keys by the square root of that
factor; here it is part of the softmax scale, once.

A function depends on nothing but its parameters. With a method that has a parameter
`context_length`, a longer context rotates the same key differently, so caches keep such keys
raw. `original_length` is the length the model was trained at, never the size of a cache.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

from .base import PositionError

Scaled = tuple[Tensor, float]  # frequencies (pairs,) float64, factor of the scores


def unscaled(frequencies: Tensor) -> Scaled:
    """Return the frequencies unchanged."""
    return frequencies, 1.0


def linear(frequencies: Tensor, *, factor: float) -> Scaled:
    """Position interpolation: every frequency is divided by the factor.

    Source: Chen et al. 2023, section 2.3, equation 4.
    """
    return frequencies / factor, 1.0


def ntk(frequencies: Tensor, *, factor: float) -> Scaled:
    """NTK-aware interpolation: keep the highest frequency, divide the lowest by the factor.

    Changing the base b to b * s^(d / (d - 2)) multiplies frequency i of n by s^(-i / (n - 1)).
    Source: bloc97 2023; Peng et al. 2023 (YaRN), section 3.1, equations 15 and 16.
    """
    last = max(len(frequencies) - 1, 1)
    index = torch.arange(len(frequencies), dtype=torch.float64, device=frequencies.device)
    return frequencies * factor ** (-index / last), 1.0


def dynamic(
    frequencies: Tensor, *, factor: float, original_length: int, context_length: int
) -> Scaled:
    """NTK-aware interpolation by the ratio of context length to original length.

    Source: Peng et al. 2023, section 3.3, s = max(1, l / L). A `factor` other than 1 is from
    transformers: s = factor * l / L - (factor - 1), which is also 1 at l = L.
    """
    ratio = max(context_length, original_length) / original_length
    return ntk(frequencies, factor=factor * ratio - (factor - 1))


def yarn(
    frequencies: Tensor,
    *,
    factor: float,
    original_length: int,
    beta_fast: float,
    beta_slow: float,
    truncate: bool,
) -> Scaled:
    """Divide low frequencies, keep high frequencies, and sharpen the softmax.

    A pair that makes `beta_fast` turns within the original length keeps its frequency; one
    that makes `beta_slow` turns is divided by the whole factor; between them is a linear ramp.
    In the paper the ramp is linear in the number of turns (equation 18). In the authors' code,
    and so in every released model and here, it is linear in the pair's index, with ends
    rounded outwards. In the middle of the ramp frequencies are up to 4 times higher then, at
    factor 40. Without `truncate` ends are not rounded, as in gpt-oss.

    Source: Peng et al. 2023, sections 3.2 and 3.4, equations 17 to 22.
    """
    pairs = len(frequencies)
    # Neighbouring frequencies have one ratio, exp(step), so the index of a pair that makes
    # `beta` turns is log(turns of the first pair / beta) / step.
    turns = frequencies[0] * original_length / (2 * math.pi)
    step = torch.log(frequencies[0] / frequencies[-1]) / max(pairs - 1, 1)
    step = step.clamp(min=1e-9)  # 0 for a single pair, or base 1
    first, last = (torch.log(turns / beta) / step for beta in (beta_fast, beta_slow))
    if truncate:
        first, last = torch.floor(first), torch.ceil(last)
    first = first.clamp(min=0)
    # The authors' bound is 2 * pairs - 1. If even the fastest pair makes fewer than `beta_slow`
    # turns, `last` is below `first` in their code, which then scales nothing.
    last = torch.maximum(last.clamp(max=2 * pairs - 1), first + 0.001)
    index = torch.arange(pairs, dtype=torch.float64, device=frequencies.device)
    share = ((index - first) / (last - first)).clamp(0, 1)  # 0: kept, 1: divided fully
    score_factor = (1 + 0.1 * math.log(factor)) ** 2
    return frequencies * (1 - share) + frequencies / factor * share, score_factor


def longrope(
    frequencies: Tensor,
    *,
    factor: float,
    original_length: int,
    context_length: int,
    short_factors: tuple[float, ...],
    long_factors: tuple[float, ...],
) -> Scaled:
    """Divide each frequency by its own divisor, found by search; short contexts have others.

    The caller fixes the context length, so the divisors cannot change during a generation.
    `factor` is the longest length over the original length. It affects the scores only, by
    1 + ln(factor) / ln(original length).

    Source: Ding et al. 2024, sections 3.1 and 3.3; the factor of the scores is from the
    authors' code.
    Not here: the first tokens that the paper leaves unscaled; no released model does that.
    """
    factors = long_factors if context_length > original_length else short_factors
    divisors = torch.tensor(factors or 1.0, dtype=torch.float64, device=frequencies.device)
    return frequencies / divisors, 1 + math.log(factor) / math.log(original_length)


def llama3(
    frequencies: Tensor,
    *,
    factor: float,
    original_length: int,
    low_frequency_factor: float,
    high_frequency_factor: float,
) -> Scaled:
    """Divide low frequencies, keep high frequencies, with a ramp linear in the turns between.

    A pair that makes at most `low_frequency_factor` turns within the original length is
    divided by the whole factor; one that makes at least `high_frequency_factor` turns keeps
    its frequency.

    Source: the code released with Llama 3.1; Grattafiori et al. 2024 describe the model.
    """
    turns = frequencies * original_length / (2 * math.pi)
    span = high_frequency_factor - low_frequency_factor
    share = ((turns - low_frequency_factor) / span).clamp(0, 1)  # 1: kept, 0: divided fully
    return frequencies * share + frequencies / factor * (1 - share), 1.0


SCALINGS: dict[str, Callable[..., Scaled]] = {
    "none": unscaled,
    "linear": linear,
    "ntk": ntk,
    "dynamic": dynamic,
    "yarn": yarn,
    "longrope": longrope,
    "llama3": llama3,
}


def parameters_of(scaling: str) -> tuple[str, ...]:
    """Return the names of a scaling's parameters besides the frequencies."""
    return _keywords(SCALINGS[scaling])


@cache
def _keywords(function: Callable[..., Scaled]) -> tuple[str, ...]:
    parameters = inspect.signature(function).parameters.values()
    return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


def check(scaling: str, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raise if options do not fit a scaling: unknown, unused, or out of range.

    Args:
        options: values of the options in `defaults`; `pairs`, the number of rotated pairs;
            `length`, the original length, or the trained length if that option is 0.
        defaults: every option that belongs to a scaling, with its default.

    Raises:
        PositionError: the first option that does not fit.
    """
    if scaling not in SCALINGS:
        raise PositionError(
            f"rotary: unknown scaling {scaling!r}: use one of {', '.join(SCALINGS)}",
            code="positions.rotary-scaling",
        )
    for name, default in defaults.items():
        if options[name] != default and name not in parameters_of(scaling):
            users = [other for other in SCALINGS if name in parameters_of(other)]
            raise PositionError(
                f"rotary: scaling={scaling} does not use {name}: leave it out, or use "
                f"scaling={' or '.join(users)}",
                code="positions.rotary-unused-option",
            )
    _check_lengths(scaling, options)
    _check_ramp(scaling, options)
    _check_divisors(scaling, options)


def _check_lengths(scaling: str, options: Mapping[str, Any]) -> None:
    factor, length, used = options["factor"], options["length"], parameters_of(scaling)
    if factor <= 1 and "factor" in used and scaling != "dynamic":
        raise PositionError(
            f"rotary: scaling={scaling} needs a factor above 1, not {factor:g}: it is how many "
            "times longer sequences get, such as factor=4",
            code="positions.rotary-factor",
        )
    if factor < 1:
        raise PositionError(
            f"rotary: scaling={scaling} needs a factor of 1 or more, not {factor:g}",
            code="positions.rotary-dynamic-factor",
        )
    if length <= 1 and "original_length" in used:
        raise PositionError(
            f"rotary: scaling={scaling} needs an original_length above 1, or 0 for the trained "
            f"length, not {length}",
            code="positions.rotary-original-length",
        )


def _check_ramp(scaling: str, options: Mapping[str, Any]) -> None:
    fast, slow = options["beta_fast"], options["beta_slow"]
    low, high = options["low_frequency_factor"], options["high_frequency_factor"]
    if not fast > slow > 0 and "beta_fast" in parameters_of(scaling):
        raise PositionError(
            f"rotary: scaling={scaling} needs beta_fast={fast:g} above beta_slow={slow:g}, "
            "and both positive",
            code="positions.rotary-yarn-ramp",
        )
    if not high > low > 0:
        raise PositionError(
            f"rotary: scaling={scaling} needs high_frequency_factor={high:g} above "
            f"low_frequency_factor={low:g}, and both positive",
            code="positions.rotary-llama3-ramp",
        )


def _check_divisors(scaling: str, options: Mapping[str, Any]) -> None:
    pairs, short, long = options["pairs"], options["short_factors"], options["long_factors"]
    if len(long) != pairs and scaling == "longrope":
        raise PositionError(
            f"rotary: scaling={scaling} needs long_factors with one number for each of {pairs} "
            f"pairs, not {len(long)} numbers",
            code="positions.rotary-long-factors",
        )
    if len(short) not in (0, pairs):
        raise PositionError(
            f"rotary: scaling={scaling} needs short_factors with one number for each of {pairs} "
            f"pairs, or none, not {len(short)} numbers",
            code="positions.rotary-short-factors",
        )
    if min((*short, *long), default=1) <= 0:
        raise PositionError(
            f"rotary: scaling={scaling} needs positive short_factors and long_factors, not "
            f"{min((*short, *long)):g}",
            code="positions.rotary-divisors-not-positive",
        )
