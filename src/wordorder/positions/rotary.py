"""Rotary positional embedding: queries and keys are rotated by an angle per position.

The dot product of a rotated query and a rotated key depends only on the distance of their
positions. Rotated dimensions are stored interleaved, as pairs (0,1), (2,3), ...: a pair is
then one complex number and a rotation is one complex product, the fastest form in eager mode.
Llama's half-split layout is the same embedding with the rows of the projections permuted:
import and export permute them, or `layout=half` rotates that layout directly.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from . import defaults, rotary_scaling
from .angles import cos_sin, turning
from .base import Position, PositionError, State, upcast
from .layout import TokenLayout
from .shape import ModelShape


class Rotation(NamedTuple):
    """Cosine and sine of each pair's angle, (batch, 1, time, pairs) float32.

    `unit` is cosine + i sine, complex64, where rotations are complex products; else None.
    """

    cosine: Tensor
    sine: Tensor
    unit: Tensor | None = None


def rotation(positions: Tensor, frequencies: Tensor) -> Rotation:
    """Return the rotation by positions * frequencies.

    Shapes: positions (batch, time, pairs or 1) of any number type, frequencies (pairs,)
    float64 on the CPU.
    """
    cosine, sine = (each[:, None] for each in cos_sin(positions, frequencies))
    eager = positions.is_cpu and not torch.compiler.is_compiling()
    return Rotation(cosine, sine, torch.complex(cosine, sine) if eager else None)


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Return x with its leading interleaved pairs rotated; other dimensions are unchanged.

    Shapes: x (batch, heads, time, head_dim); the result has its shape and dtype.
    """
    cosine, sine, unit = rotation
    pairs = cosine.shape[-1]
    if 2 * pairs < x.shape[-1]:
        return _rotate_leading(x, rotation, rotate)
    wide = upcast(x)
    if unit is None:
        first, second = wide.unflatten(-1, (pairs, 2)).unbind(-1)
        real, imaginary = first * cosine - second * sine, first * sine + second * cosine
        return torch.stack((real, imaginary), dim=-1).flatten(-2).to(x.dtype)
    # view_as_complex needs even strides and an even offset; `contiguous` would keep the offset.
    if wide.storage_offset() % 2 or any(stride % 2 for stride in wide.stride()[:-1]):
        wide = wide.clone(memory_format=torch.contiguous_format)
    numbers = torch.view_as_complex(wide.unflatten(-1, (pairs, 2)))
    return torch.view_as_real(numbers * unit).flatten(-2).to(x.dtype)


def rotate_halves(x: Tensor, rotation: Rotation) -> Tensor:
    """Return x rotated as by `rotate`, with pairs (i, i + pairs) instead of (2i, 2i + 1)."""
    cosine, sine, _ = rotation
    if 2 * cosine.shape[-1] < x.shape[-1]:
        return _rotate_leading(x, rotation, rotate_halves)
    first, second = upcast(x).chunk(2, dim=-1)
    halves = (first * cosine - second * sine, first * sine + second * cosine)
    return torch.cat(halves, dim=-1).to(x.dtype)


def _rotate_leading(
    x: Tensor, rotation: Rotation, rotate: Callable[[Tensor, Rotation], Tensor]
) -> Tensor:
    """Return x with only as many leading dimensions rotated as the rotation has."""
    width = 2 * rotation.cosine.shape[-1]
    leading, rest = x.split((width, x.shape[-1] - width), dim=-1)
    return torch.cat((rotate(leading, rotation), rest), dim=-1)


LAYOUTS = {"interleaved": rotate, "half": rotate_halves}


class Rotary(Position):
    """Rotates each pair of query and key dimensions by its frequency times the position.

    Args:
        base: frequencies are base^(-2i/dim) for pair i of dim rotated dimensions; 0: 10,000
            times the trained length over 512, at most the paper's 10,000.
        fraction: fraction of the head that is rotated, in (0, 1]; dim above is the number of
            rotated dimensions, as in GPT-NeoX. 0, with `proportional`: the pairs that make at
            least one turn within the original length; slower pairs, which never complete a
            turn in training, are not rotated (HoPE).
        proportional: dim above is the head size instead, so that `fraction` keeps the highest
            frequencies unchanged and drops the lowest (p-RoPE).
        layout: "interleaved" pairs dimensions 2i and 2i + 1; "half" pairs dimension i with
            i + half of the rotated dimensions, as Llama stores its weights.
        scaling: how to extend past `original_length`: "linear" (position interpolation),
            "ntk", "dynamic" (NTK by the context length), "yarn", "longrope" or "llama3"; see
            the function of that name in `rotary_scaling`.
        factor: how many times longer sequences get, above 1. 1 without scaling, and by
            default for "dynamic", as in the paper.
        original_length: the length before extension, in tokens; 0: the trained length.
        beta_fast: yarn keeps the frequency of pairs that make at least this many turns
            within the original length; 0: the paper's 32 for 4,096 tokens, scaled with the
            square root of the length below that (8 for 256).
        beta_slow: yarn divides the frequency of pairs with at most this many turns by the
            whole factor.
        truncate: yarn rounds the ends of its ramp outwards to whole pairs; false in gpt-oss.
        short_factors: longrope's divisors up to the original length, one per pair; if empty,
            all are 1.
        long_factors: longrope's divisors past the original length, one per pair.
        low_frequency_factor: llama3 divides the frequency of pairs with at most this many
            turns by the whole factor.
        high_frequency_factor: llama3 keeps the frequency of pairs with at least this many
            turns.

    Raises:
        PositionError: an option out of range, or one that the scaling does not use; a
            fraction that leaves no pair, or 0 without `proportional`.

    Source: Su et al. 2021, RoFormer, equations 15 and 34; proportional: Barbero et al. 2024,
    section 6; fraction=0: Chen et al. 2024, HoPE (arXiv 2410.21216); scalings: see
    `rotary_scaling`. Pair i at position p becomes
    (x_2i + i x_2i+1) * exp(i p base^(-2i/dim)).
    """

    summary = "Rotates queries and keys, so that their product depends on distance alone."
    source = "Su et al. 2021, equations 15 and 34"
    formula = (
        "pair i at position p, as one complex number:  z′ = z · exp(𝑖 p θᵢ)\n"
        "θᵢ = base^(−2i/dim), dim the rotated dimensions (proportional: the head size)\n"
        "so that  q′ₘ · k′ₙ = Re Σᵢ qᵢ k̄ᵢ exp(𝑖 (m−n) θᵢ)"
    )
    traps = (
        "Interleaved weights in the half-split layout, or the reverse, give fluent nonsense: "
        "permute the rows of the projections, or set layout=half.",
        "A frequency table stored as a buffer is rounded by .half() or .to(bfloat16), and is "
        "uninitialised after the meta device; here it is recomputed from the options.",
        "In bfloat16 every other integer position past 256 is lost, and float32 angles are off "
        "by 0.039 near 1,000,000.",
        "In partial rotary, dim is the number of rotated dimensions (GPT-NeoX), with proportional "
        "the head size: the same fraction has other frequencies.",
        "YaRN's ramp is easily reversed: the highest frequency must stay, and the lowest must be "
        "divided by the whole factor.",
        "YaRN's and LongRoPE's attention temperature applies once, to the scores; if queries and "
        "keys are scaled instead, each is scaled by its square root.",
        "original_length is the length the model was trained at, not the size of a cache.",
        "Cached rotated keys are wrong once dynamic scaling changes the frequencies: cache raw "
        "keys.",
        "LongRoPE switches its divisors at the original length: fix the context length before "
        "generating, and do not derive it from the tokens so far.",
        "beta_fast=32 is meant for an original length of about 4,096: at 128 tokens it scales "
        "every pair.",
        "base=10000 is meant for about 512 tokens. A base that follows the trained length must be "
        "written out (base=5000) before training goes on at another length, or it changes; train "
        "--init and extend do so.",
    )
    door = "query-key"
    follows = (
        defaults.FOLLOWS_BASE,
        defaults.Follows("fraction", "pairs with a whole turn within the original length"),
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
        layout: Literal["interleaved", "half"] = "interleaved",
        scaling: Literal["none", "linear", "ntk", "dynamic", "yarn", "longrope", "llama3"] = "none",
        factor: float = 1.0,
        original_length: int = 0,
        beta_fast: float = 0.0,
        beta_slow: float = 1.0,
        truncate: bool = True,
        short_factors: tuple[float, ...] = (),
        long_factors: tuple[float, ...] = (),
        low_frequency_factor: float = 1.0,
        high_frequency_factor: float = 4.0,
    ) -> None:
        super().__init__(shape)
        _check_rotation(shape, base, fraction, proportional, layout)
        self.base = base
        self.resolved_base = base or defaults.rotary_base(shape.trained_length)
        self.fraction = fraction
        self.proportional = proportional
        self.layout = layout
        self.pairs = int(shape.head_dim * fraction) // 2
        if not fraction:
            exponent = torch.arange(0, shape.head_dim, 2, dtype=torch.float64, device="cpu")
            every = self.resolved_base ** (-exponent / shape.head_dim)
            self.pairs = turning(every, original_length or shape.trained_length)
        self.scaling = scaling
        self.factor = factor
        self.original_length = original_length
        self.beta_fast = beta_fast
        self.beta_slow = beta_slow
        self.truncate = truncate
        self.short_factors = tuple(short_factors)
        self.long_factors = tuple(long_factors)
        self.low_frequency_factor = low_frequency_factor
        self.high_frequency_factor = high_frequency_factor
        self.rotate = LAYOUTS[layout]
        self.reads_vectors = layout == "half"  # its pairs are not neighbours
        self.rescale = self._scaling()
        # With a scaling that depends on the context length, a longer context rotates the same
        # key differently.
        self.static_rotation = "context_length" not in rotary_scaling.parameters_of(scaling)
        # Python floats, which .to(), the meta device and state dicts cannot change.
        self.fixed = tuple(self._scaled(0)[0].tolist()) if self.static_rotation else ()

    def _scaling(self) -> partial[rotary_scaling.Scaled]:
        """Return the scaling as a function of frequencies, and of context_length if it uses it."""
        scaling_defaults = {
            name: default
            for name, default in self.options().items()
            if any(name in rotary_scaling.parameters_of(s) for s in rotary_scaling.SCALINGS)
        }
        options = {name: getattr(self, name) for name in scaling_defaults}
        length = self.original_length or self.shape.trained_length
        if self.scaling == "yarn":
            options["beta_fast"] = self.beta_fast or defaults.yarn_turns(length)
        sizes = {"pairs": self.pairs, "length": length}
        rotary_scaling.check(self.scaling, {**options, **sizes}, scaling_defaults)
        options["original_length"] = length
        used = rotary_scaling.parameters_of(self.scaling)
        arguments = {name: value for name, value in options.items() if name in used}
        return partial(rotary_scaling.SCALINGS[self.scaling], **arguments)

    def resolved_options(self) -> dict[str, float]:
        values = {"base": self.resolved_base, **self.rescale.keywords}
        if not self.fraction:
            values["fraction"] = self.resolved_fraction
        names = ("base", "fraction", "original_length", "beta_fast")
        return {name: values[name] for name in names if name in values}

    @property
    def resolved_fraction(self) -> float:
        """The fraction of the head that is rotated."""
        return self.fraction or 2 * self.pairs / self.shape.head_dim

    @property
    def softmax_scale(self) -> float | None:
        """1/sqrt(score_dim) times the scaling's factor for scores; None if that factor is 1.

        The factor applies to all dimensions. The papers' codes apply it to the rotated ones
        only, which differs if `fraction` is below 1.
        """
        score_factor = self._scaled(0)[1]
        return None if score_factor == 1 else score_factor * self.shape.score_dim**-0.5

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

        With `proportional`, all pairs of the head: those that are not rotated have 0.
        """
        if self.static_rotation:
            frequencies = torch.tensor(self.fixed, dtype=torch.float64, device="cpu")
        else:
            frequencies = self._scaled(context_length)[0]
        if not self.proportional:
            return frequencies
        unrotated = self.shape.head_dim // 2 - self.pairs
        return torch.nn.functional.pad(frequencies, (0, unrotated))

    def prepare(self, layout: TokenLayout) -> tuple[Rotation, Rotation]:
        frequencies = self.frequencies(layout.context_length)
        return layout.at_both(lambda positions: rotation(positions[..., None], frequencies))

    def transform_queries(
        self, queries: Tensor, tables: tuple[Rotation, Rotation], state: State
    ) -> Tensor:
        return self.rotate(queries, tables[0])

    def transform_keys(
        self, keys: Tensor, tables: tuple[Rotation, Rotation], state: State
    ) -> Tensor:
        return self.rotate(keys, tables[1])


def _check_rotation(
    shape: ModelShape, base: float, fraction: float, proportional: bool, layout: str
) -> None:
    if not base >= 0:
        raise PositionError(
            f"rotary: base={base} must be positive, or 0 to scale it with the trained length; "
            "the paper uses 10000",
            code="positions.rotary-base",
        )
    if not (0 < fraction <= 1 or (fraction == 0 and proportional)):
        raise PositionError(
            f"rotary: fraction={fraction} must be above 0 and at most 1, or 0 with "
            "proportional=true for the pairs that turn within the trained length",
            code="positions.rotary-fraction",
        )
    if (fraction == 1 or proportional) and shape.head_dim % 2:
        raise PositionError(
            f"rotary rotates pairs of dimensions, so the head size {shape.head_dim} must be "
            "even: choose another --head-dim",
            code="positions.rotary-head-size",
        )
    if layout not in LAYOUTS:
        raise PositionError(
            f"rotary: unknown layout {layout!r}: use {' or '.join(LAYOUTS)}",
            code="positions.rotary-layout",
        )
    if fraction and not int(shape.head_dim * fraction) // 2:
        raise PositionError(
            f"rotary: fraction={fraction} of the head size {shape.head_dim} leaves no pair to "
            f"rotate: use at least {2 / shape.head_dim:g}",
            code="positions.rotary-no-pair",
        )
