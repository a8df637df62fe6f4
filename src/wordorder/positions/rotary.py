"""Rotary positional embedding: queries and keys are turned by an angle per position.

The dot product of a turned query and a turned key depends on their distance alone.
Rotary dimensions are stored interleaved, pairs (0,1), (2,3), ...: a pair is then one
complex number and turning is one complex product, the fastest form in eager mode. The
half-split layout of Llama is the same embedding with permuted rows of the projections:
import and export permute them, or `layout=half` turns them where they stand.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from . import defaults, rotary_scaling
from .angles import cos_sin
from .base import ModelShape, Position, PositionError, State, TokenLayout, upcast


class Rotation(NamedTuple):
    """Cosine and sine of each pair's angle, (batch, 1, time, pairs) float32.

    Where numbers are turned as complex ones, `unit` is both in one, complex64.
    """

    cosine: Tensor
    sine: Tensor
    unit: Tensor | None = None


def rotation(positions: Tensor, frequencies: Tensor) -> Rotation:
    """Return cosines and sines of positions times frequencies.

    Shapes: positions (batch, time, pairs or 1) of any number type, frequencies (pairs,)
    float64 on the CPU.
    """
    cosine, sine = (each[:, None] for each in cos_sin(positions, frequencies))
    eager = positions.is_cpu and not torch.compiler.is_compiling()
    return Rotation(cosine, sine, torch.complex(cosine, sine) if eager else None)


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Return x with its leading interleaved pairs turned; the other dimensions pass.

    Shapes: x (batch, heads, time, head_dim); the result has its shape and dtype.
    """
    cosine, sine, unit = rotation
    pairs = cosine.shape[-1]
    if 2 * pairs < x.shape[-1]:
        return _leading(x, rotation, rotate)
    turned = upcast(x)
    if unit is None:
        first, second = turned.unflatten(-1, (pairs, 2)).unbind(-1)
        real, imaginary = first * cosine - second * sine, first * sine + second * cosine
        return torch.stack((real, imaginary), dim=-1).flatten(-2).to(x.dtype)
    if any(stride % 2 for stride in turned.stride()[:-1]):
        turned = turned.contiguous()
    numbers = torch.view_as_complex(turned.unflatten(-1, (pairs, 2)))
    return torch.view_as_real(numbers * unit).flatten(-2).to(x.dtype)


def rotate_halves(x: Tensor, rotation: Rotation) -> Tensor:
    """Return x turned as `rotate` does, where dimension i pairs with i + half the turned ones."""
    cosine, sine, _ = rotation
    if 2 * cosine.shape[-1] < x.shape[-1]:
        return _leading(x, rotation, rotate_halves)
    first, second = upcast(x).chunk(2, dim=-1)
    turned = (first * cosine - second * sine, first * sine + second * cosine)
    return torch.cat(turned, dim=-1).to(x.dtype)


def _leading(x: Tensor, rotation: Rotation, turn: Callable[[Tensor, Rotation], Tensor]) -> Tensor:
    """Return x with as many leading dimensions turned as the rotation has."""
    span = 2 * rotation.cosine.shape[-1]
    turned, kept = x.split((span, x.shape[-1] - span), dim=-1)
    return torch.cat((turn(turned, rotation), kept), dim=-1)


LAYOUTS = {"interleaved": rotate, "half": rotate_halves}


class Rotary(Position):
    """Turns each pair of query and key dimensions by its frequency times the position.

    Args:
        base: frequencies are base^(-2i/dim) for pair i of dim turned dimensions; 0: 10,000
            times the trained length over 512, at most 10,000, the paper's.
        fraction: the part of the head that is turned, in (0, 1]; the exponent runs over
            the turned dimensions, as in GPT-NeoX.
        proportional: the exponent runs over the whole head, so that `fraction` keeps the
            highest frequencies as they are and drops the lowest (p-RoPE).
        layout: "interleaved" pairs dimensions 2i and 2i + 1 of the turned ones; "half"
            pairs i with i + half of them, as Llama stores its weights.
        scaling: how to reach past `original_length`: "linear" (position interpolation),
            "ntk", "dynamic" (NTK by the context's length), "yarn", "longrope" or "llama3",
            each as its function in `rotary_scaling` says.
        factor: how many times longer texts get, above 1; 1 is for "dynamic", where it is
            the paper's, and for no scaling.
        original_length: what scaling divides by; 0: the trained length.
        beta_fast: yarn leaves pairs that turn at least so often within the original length;
            0: the paper's 32 for 4,096 tokens, less by the root of the length for fewer, so
            8 for 256.
        beta_slow: yarn divides pairs that turn at most so often in full.
        short_factors: longrope's divisors up to the original length, one for each pair;
            none: 1 for all.
        long_factors: longrope's divisors past it.
        low_frequency_factor: llama3 divides pairs that turn at most so often in full.
        high_frequency_factor: llama3 leaves pairs that turn at least so often.

    Raises:
        PositionError: an option out of range, or one that the scaling does not take; a
            fraction that leaves no whole pair.

    Source: Su et al. 2021, RoFormer, equations 15 and 34; proportional: Barbero et al. 2024,
    section 6; scalings: see `rotary_scaling`. Pair i at position p becomes
    (x_2i + i x_2i+1) * exp(i p base^(-2i/dim)).
    """

    summary = "Turns queries and keys, so that their product depends on distance alone."
    source = "Su et al. 2021, equations 15 and 34"
    formula = (
        "pair i at position p, as one complex number:  z′ = z · exp(𝑖 p θᵢ)\n"
        "θᵢ = base^(−2i/dim), dim the turned dimensions (proportional: the head size)\n"
        "so that  q′ₘ · k′ₙ = Re Σᵢ qᵢ k̄ᵢ exp(𝑖 (m−n) θᵢ)"
    )
    traps = (
        "Interleaved and half-split weights give fluent nonsense in each other's layout: "
        "permute the rows of the projections, or say layout=half.",
        "A frequency table kept as a buffer is rounded by .half() or .to(bfloat16), and is "
        "garbage after the meta device; here it is computed anew from the options.",
        "Positions in bfloat16 lose every other integer past 256, and angles in float32 are "
        "off by 0.039 near 1,000,000.",
        "The exponent of partial rotary runs over the turned dimensions (GPT-NeoX), with "
        "proportional over the head: the same fraction, other frequencies.",
        "YaRN's ramp is easily turned over: the highest frequency must stay, the lowest must "
        "be divided.",
        "YaRN's and LongRoPE's attention temperature counts once in the scores; on queries "
        "and keys its root does.",
        "original_length is what the model was trained at, not the size of a cache.",
        "Keys kept rotated are wrong once dynamic scaling turns at other frequencies: keep "
        "them raw.",
        "LongRoPE's sets switch at the original length: fix the context length before "
        "generating, not by how far the text has come.",
        "beta_fast=32 presumes an original length of about 4,096: of 128 tokens it divides "
        "every pair.",
        "base=10000 presumes some 512 tokens. A base that follows the trained length must be "
        "written out where a longer length is trained later.",
    )
    door = "query-key"
    follows = (
        defaults.FOLLOWS_BASE,
        defaults.Follows("original_length", "the trained length"),
        defaults.Follows("beta_fast", "32 times the root of the original length over 4,096", 32.0),
    )

    def __init__(
        self,
        shape: ModelShape,
        /,
        *,
        base: float = 0.0,
        fraction: float = 1.0,
        proportional: bool = False,
        layout: str = "interleaved",
        scaling: str = "none",
        factor: float = 1.0,
        original_length: int = 0,
        beta_fast: float = 0.0,
        beta_slow: float = 1.0,
        short_factors: tuple[float, ...] = (),
        long_factors: tuple[float, ...] = (),
        low_frequency_factor: float = 1.0,
        high_frequency_factor: float = 4.0,
    ) -> None:
        super().__init__(shape)
        if not base >= 0:
            raise PositionError(
                f"rotary: base={base} must be above 0, or 0 to follow the trained length; "
                "10000 is the paper's"
            )
        if not 0 < fraction <= 1:
            raise PositionError(f"rotary: fraction={fraction} must be above 0 and at most 1")
        if (fraction == 1 or proportional) and shape.head_dim % 2:
            raise PositionError(
                f"rotary turns pairs, but the head size is {shape.head_dim}: choose an even one"
            )
        if layout not in LAYOUTS:
            raise PositionError(f"rotary: layout={layout} must be {' or '.join(LAYOUTS)}")
        self.base = base
        self.resolved_base = base or defaults.rotary_base(shape.trained_length)
        self.fraction = fraction
        self.proportional = proportional
        self.layout = layout
        self.pairs = int(shape.head_dim * fraction) // 2
        if not self.pairs:
            raise PositionError(
                f"rotary: fraction={fraction} of head size {shape.head_dim} leaves no pair: "
                f"use at least {2 / shape.head_dim:g}"
            )
        self.scaling = scaling
        self.factor = factor
        self.original_length = original_length
        self.beta_fast = beta_fast
        self.beta_slow = beta_slow
        self.short_factors = tuple(short_factors)
        self.long_factors = tuple(long_factors)
        self.low_frequency_factor = low_frequency_factor
        self.high_frequency_factor = high_frequency_factor
        self.turn = LAYOUTS[layout]
        self.rescale = self._scaling()
        # A key turns otherwise in a longer context, where the scaling asks how long it is.
        self.static_rotation = "context_length" not in rotary_scaling.takes(scaling)
        # Python's own numbers, which no .to(), meta device or state dict can spoil.
        self.fixed = tuple(self._scaled(0)[0].tolist()) if self.static_rotation else ()

    def _scaling(self) -> partial[rotary_scaling.Scaled]:
        """Return the scaling as a function of frequencies, and of the length if it must be."""
        unused = {
            name: default
            for name, default in self.options().items()
            if any(name in rotary_scaling.takes(each) for each in rotary_scaling.SCALINGS)
        }
        options = {name: getattr(self, name) for name in unused}
        length = self.original_length or self.shape.trained_length
        about = {"pairs": self.pairs, "length": length}
        if self.scaling == "yarn":
            options["beta_fast"] = self.beta_fast or defaults.yarn_turns(length)
        rotary_scaling.check(self.scaling, {**options, **about}, unused)
        options["original_length"] = length
        taken = rotary_scaling.takes(self.scaling)
        given = {name: value for name, value in options.items() if name in taken}
        return partial(rotary_scaling.SCALINGS[self.scaling], **given)

    def resolved_options(self) -> dict[str, float]:
        lengths = {"base": self.resolved_base, **self.rescale.keywords}
        taken = ("base", "original_length", "beta_fast")
        return {name: lengths[name] for name in taken if name in lengths}

    @property
    def softmax_scale(self) -> float | None:
        """1/sqrt(head_dim), times what the scaling multiplies scores by; None for that alone.

        All dimensions count: the papers' codes multiply the turned ones alone, which differs
        where `fraction` leaves some.
        """
        sharper = self._scaled(0)[1]
        return None if sharper == 1 else sharper * self.shape.head_dim**-0.5

    def _scaled(self, context_length: int) -> rotary_scaling.Scaled:
        exponent = torch.arange(self.pairs, dtype=torch.float64, device="cpu") / self.pairs
        if self.proportional:
            exponent = exponent * (2 * self.pairs / self.shape.head_dim)
        frequencies = self.resolved_base**-exponent
        if not self.static_rotation:
            return self.rescale(frequencies, context_length=context_length)
        return self.rescale(frequencies)

    def frequencies(self, context_length: int = 0) -> Tensor:
        """Return the angle per position of each pair, (pairs,) float64 on the CPU.

        Where the exponent runs over the whole head, so do the pairs: the slow ones are 0.
        """
        if self.static_rotation:
            frequencies = torch.tensor(self.fixed, dtype=torch.float64, device="cpu")
        else:
            frequencies = self._scaled(context_length)[0]
        if not self.proportional:
            return frequencies
        still = self.shape.head_dim // 2 - self.pairs
        return torch.nn.functional.pad(frequencies, (0, still))

    def prepare(self, layout: TokenLayout) -> tuple[Rotation, Rotation]:
        frequencies = self.frequencies(layout.context_length)
        queries = rotation(layout.query_positions[..., None], frequencies)
        if layout.self_attention:
            return queries, queries
        return queries, rotation(layout.key_positions[..., None], frequencies)

    def transform_queries(
        self, queries: Tensor, tables: tuple[Rotation, Rotation], state: State
    ) -> Tensor:
        return self.turn(queries, tables[0])

    def transform_keys(
        self, keys: Tensor, tables: tuple[Rotation, Rotation], state: State
    ) -> Tensor:
        return self.turn(keys, tables[1])
