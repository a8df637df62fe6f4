"""PoPE, polar coordinate positional embedding: magnitudes are content, angles are positions.

In rotary, a pair of dimensions already has an angle from its content before it is rotated, so
content shifts the distance at which a query and a key match best. In PoPE every dimension is a
magnitude, made positive by a softplus, and its angle depends on the position only (plus a
trained offset that all tokens share). A head of d dimensions has d frequencies, twice as many
as rotary, and queries and keys become twice as wide.

It is in the catalogue because its paper isolates one hypothesis, that rotary entangles content
and position, and tests it with a task small enough to repeat.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import defaults
from .angles import cos_sin
from .base import Position, PositionError, State, upcast
from .layout import TokenLayout
from .shape import ModelShape


class Angles(NamedTuple):
    """Cosines and sines (batch or 1, heads or 1, time, head_dim) float32."""

    cosine: Tensor
    sine: Tensor


class Pope(Position):
    """Polar coordinates: content is the magnitude, position alone is the angle.

    Args:
        base: dimension c rotates by base^(-c/head_dim) per position; 0: scaled with the
            trained length, as in rotary; the paper uses 10,000.
        spread: the trained offsets start uniform in [-spread, 0]. 0, the default, is better
            on longer sequences; 2 pi is slightly better within the trained length.

    Raises:
        PositionError: a negative base, a spread outside of 0 to 2 pi.

    Source: Gopalakrishnan et al. 2025, section 3, equations 3 to 6: the score is
    sum_c softplus(q_c) softplus(k_c) cos((j - i) f_c + offset_c), with offsets clipped to
    [-2 pi, 0], one per head and dimension. The paper gives no scale; here it is
    1/sqrt(head_dim), because the sum has head_dim terms, not 1/sqrt of the doubled width.
    Not here: the offset on the keys. It is on the queries with the opposite sign, which gives
    the same score, works with grouped queries, and lets a cache keep rotated keys.
    """

    summary = "Magnitudes carry content, angles carry position alone; twice rotary's frequencies."
    source = "Gopalakrishnan et al. 2025, section 3, equations 3 to 6"
    door = "query-key"
    static_rotation = True
    product_only = True  # twice as wide as a head
    reads_vectors = True  # a softplus is no factor
    follows = (defaults.FOLLOWS_BASE,)
    formula = (
        "score = Σ_c softplus(q_c) softplus(k_c) cos((j − i) f_c + δ_c) / √d\n"
        "f_c = base^(−c/d) for c = 0 … d−1,  δ_c clipped to [−2π, 0]"
    )
    traps = (
        "Queries and keys become twice as wide: a scale computed from their width is too small "
        "by √2, and keys need twice the cache.",
        "Frequencies run over all d dimensions, base^(−c/d), not over d/2 pairs.",
        "Scores at distance 0 are sums of positive numbers: a head cannot make them negative.",
        "An offset outside of [−2π, 0] is clipped and gets no gradient, so it stays there.",
        "In bfloat16 rounding errors of d positive terms add up, where rotary's signs cancel.",
    )

    def __init__(self, shape: ModelShape, /, *, base: float = 0.0, spread: float = 0.0) -> None:
        super().__init__(shape)
        if not base >= 0:
            raise PositionError(
                f"pope: base={base} must be positive, or 0 to scale it with the trained length; "
                "the paper uses 10000",
                code="positions.pope-base",
            )
        if not 0 <= spread <= 2 * math.pi:
            raise PositionError(
                f"pope: spread={spread} must be from 0 to 2 pi (6.2832)",
                code="positions.pope-spread",
            )
        self.base = base
        self.resolved_base = base or defaults.rotary_base(shape.trained_length)
        self.spread = spread
        self.offsets = nn.Parameter(torch.empty(shape.heads, shape.head_dim))
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw offsets from U(-spread, 0); at 0, the bound itself, gradients still pass."""
        nn.init.uniform_(self.offsets, -self.spread, 0.0, generator=generator)

    def resolved_options(self) -> dict[str, float]:
        return {"base": self.resolved_base}

    @property
    def softmax_scale(self) -> float:
        return self.shape.score_dim**-0.5

    def frequencies(self) -> Tensor:
        """Return the angle per position of each dimension, (head_dim,) float64 on the CPU."""
        exponent = torch.arange(self.shape.head_dim, dtype=torch.float64, device="cpu")
        exponent = exponent / self.shape.head_dim
        return self.resolved_base**-exponent

    def angles(self, positions: Tensor) -> Angles:
        """Return cosines and sines of positions (batch, time)."""
        cosine, sine = cos_sin(positions[..., None], self.frequencies())
        return Angles(cosine[:, None], sine[:, None])

    def prepare(self, layout: TokenLayout) -> tuple[Angles, Angles]:
        queries, keys = layout.at_both(self.angles)
        cosine, sine = queries
        offsets = upcast(self.offsets).clamp(-2 * math.pi, 0.0)[:, None]
        offset_cosine, offset_sine = offsets.cos(), offsets.sin()  # (heads, 1, head_dim)
        # cos(a - b) and sin(a - b) from those of a and b: cheaper than a cosine per head.
        cosine, sine = (
            cosine * offset_cosine + sine * offset_sine,
            sine * offset_cosine - cosine * offset_sine,
        )
        return Angles(cosine, sine), keys

    def transform_queries(
        self, queries: Tensor, tables: tuple[Angles, Angles], state: State
    ) -> Tensor:
        return polar(queries, tables[0])

    def transform_keys(self, keys: Tensor, tables: tuple[Angles, Angles], state: State) -> Tensor:
        return polar(keys, tables[1])


def polar(x: Tensor, angles: Angles) -> Tensor:
    """Return magnitudes softplus(x) at angles as (real, imaginary) parts.

    Shapes: x (batch, heads, time, head_dim); the result (batch, heads, time, 2 * head_dim).
    """
    magnitude = F.softplus(upcast(x))
    return torch.cat((magnitude * angles.cosine, magnitude * angles.sine), -1).to(x.dtype)
