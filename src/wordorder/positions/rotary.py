"""Rotary positional embedding: queries and keys are turned by an angle per position.

The dot product of a turned query and a turned key depends on their distance alone.
Rotary dimensions are stored interleaved, pairs (0,1), (2,3), ...: a pair is then one
complex number and turning is one complex product, the fastest form in eager mode. The
half-split layout of Llama is the same embedding with permuted rows of the projections:
import and export permute them. Angles are float64, cast once to float32 sines and
cosines: in float32 they are off by 0.039 near position 1,000,000.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .base import Geometry, ModelShape, Position, PositionError, State, wide


class Rotation(NamedTuple):
    """Cosine and sine of each pair's angle, (batch, 1, time, pairs) float32.

    Where numbers are turned as complex ones, `unit` is both in one, complex64.
    """

    cosine: Tensor
    sine: Tensor
    unit: Tensor | None = None


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Return x with its leading interleaved pairs turned; the other dimensions pass.

    Shapes: x (batch, heads, time, head_dim); the result has its shape and dtype.
    """
    cosine, sine, unit = rotation
    pairs = cosine.shape[-1]
    if 2 * pairs < x.shape[-1]:
        turned, kept = x.split((2 * pairs, x.shape[-1] - 2 * pairs), dim=-1)
        return torch.cat((rotate(turned, rotation), kept), dim=-1)
    turned = wide(x)
    if unit is None:
        first, second = turned.unflatten(-1, (pairs, 2)).unbind(-1)
        real, imaginary = first * cosine - second * sine, first * sine + second * cosine
        return torch.stack((real, imaginary), dim=-1).flatten(-2).to(x.dtype)
    if any(stride % 2 for stride in turned.stride()[:-1]):
        turned = turned.contiguous()
    numbers = torch.view_as_complex(turned.unflatten(-1, (pairs, 2)))
    return torch.view_as_real(numbers * unit).flatten(-2).to(x.dtype)


class Rotary(Position):
    """Turns each pair of query and key dimensions by its frequency times the position.

    Args:
        base: frequencies are base^(-2i/dim) for pair i of dim turned dimensions.
        fraction: the part of the head that is turned, in (0, 1]; the exponent runs over
            the turned dimensions, as in GPT-NeoX.

    Raises:
        PositionError: a base not above 0, or a fraction that leaves no whole pair.

    Source: Su et al. 2021, RoFormer, equations 15 and 34.
    """

    summary = "Turns queries and keys, so that their product depends on distance alone."
    source = "Su et al. 2021, equations 15 and 34"
    door = "query-key"
    static_rotation = True

    def __init__(
        self, shape: ModelShape, /, *, base: float = 10000.0, fraction: float = 1.0
    ) -> None:
        super().__init__(shape)
        if not base > 0:
            raise PositionError(f"rotary: base={base} must be above 0; 10000 is the paper's")
        if not 0 < fraction <= 1:
            raise PositionError(f"rotary: fraction={fraction} must be above 0 and at most 1")
        if fraction == 1 and shape.head_dim % 2:
            raise PositionError(
                f"rotary turns pairs, but the head size is {shape.head_dim}: choose an even one"
            )
        self.base = base
        self.fraction = fraction
        self.pairs = int(shape.head_dim * fraction) // 2
        if not self.pairs:
            raise PositionError(
                f"rotary: fraction={fraction} of head size {shape.head_dim} leaves no pair: "
                f"use at least {2 / shape.head_dim:g}"
            )

    def frequencies(self) -> Tensor:
        """Return the angle per position of each pair, (pairs,) float64 on the CPU."""
        exponent = torch.arange(self.pairs, dtype=torch.float64) / self.pairs
        return self.base**-exponent

    def rotation(self, positions: Tensor) -> Rotation:
        """Return cosines and sines of positions (batch, time)."""
        if positions.device.type == "mps":  # has no float64
            there = self.rotation(positions.cpu())
            return Rotation(there.cosine.to(positions.device), there.sine.to(positions.device))
        frequencies = self.frequencies().to(positions.device)
        angles = (positions.double()[..., None] * frequencies)[:, None]
        cosine, sine = angles.cos().float(), angles.sin().float()
        eager = positions.device.type == "cpu" and not torch.compiler.is_compiling()
        return Rotation(cosine, sine, torch.complex(cosine, sine) if eager else None)

    def prepare(self, geometry: Geometry) -> tuple[Rotation, Rotation]:
        queries = self.rotation(geometry.query_positions)
        keys = queries if geometry.whole else self.rotation(geometry.key_positions)
        return queries, keys

    def rotate_queries(
        self, queries: Tensor, tables: tuple[Rotation, Rotation], state: State
    ) -> Tensor:
        return rotate(queries, tables[0])

    def rotate_keys(self, keys: Tensor, tables: tuple[Rotation, Rotation], state: State) -> Tensor:
        return rotate(keys, tables[1])
