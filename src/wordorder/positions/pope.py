"""PoPE, polar coordinate positional embedding: magnitudes say what, angles say where.

Rotary takes dimensions in pairs, and a pair has an angle of its own before it is turned:
content shifts the distance at which query and key match best. Here every dimension is a
magnitude, made positive by a softplus, and its angle is the position's alone (and a trained
offset that all tokens share). A head of d dimensions so has d frequencies, twice rotary's,
and queries and keys come out twice as wide.

Chosen among the newer embeddings because its paper isolates one hypothesis, that rotary
mixes what with where, and tests it with a task small enough to repeat.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import defaults
from .angles import cos_sin
from .base import ModelShape, Position, PositionError, State, TokenLayout, upcast


class Angles(NamedTuple):
    """Cosines and sines (batch or 1, heads or 1, time, head_dim) float32."""

    cosine: Tensor
    sine: Tensor


class Pope(Position):
    """Polar coordinates: content is magnitude, position alone is angle.

    Args:
        base: dimension c turns by base^(-c/head_dim) per position; 0: as rotary's follows
            from the trained length; the paper's is 10,000.
        spread: the trained offsets start uniform in [-spread, 0]: 0, the default, reads
            longer texts better; 2 pi is slightly better within the trained length.

    Raises:
        PositionError: a base not above 0, a spread outside 0 to 2 pi.

    Source: Gopalakrishnan et al. 2025, section 3, equations 3 to 6: the score is
    sum_c softplus(q_c) softplus(k_c) cos((j - i) f_c + offset_c), offsets held within
    [-2 pi, 0], one per head and dimension. The paper writes no scale; it is 1/sqrt(head_dim),
    since the sum has head_dim terms, not 1/sqrt of the doubled width.
    Not here: the offset on the keys; it is on the queries with the other sign, which is the
    same score, serves grouped queries, and lets a cache keep turned keys.
    """

    summary = "Magnitudes carry content, angles carry position alone; twice rotary's frequencies."
    source = "Gopalakrishnan et al. 2025, section 3, equations 3 to 6"
    door = "query-key"
    static_rotation = True
    follows = (defaults.FOLLOWS_BASE,)
    formula = (
        "score = Σ_c softplus(q_c) softplus(k_c) cos((j − i) f_c + δ_c) / √d\n"
        "f_c = base^(−c/d) for c = 0 … d−1,  δ_c clipped to [−2π, 0]"
    )
    traps = (
        "Queries and keys come out twice as wide: a scale taken from their width is too small "
        "by √2, and keys take twice the cache.",
        "Frequencies run over all d dimensions, base^(−c/d), not over d/2 pairs.",
        "Scores at a distance of 0 are sums of positive numbers: a head cannot say no by sign.",
        "An offset that a step pushes out of [−2π, 0] gets no slope to come back by.",
        "In bfloat16 a width of d positive terms adds up rounding that rotary's signs cancel.",
    )

    def __init__(self, shape: ModelShape, /, *, base: float = 0.0, spread: float = 0.0) -> None:
        super().__init__(shape)
        if not base >= 0:
            raise PositionError(
                f"pope: base={base} must be above 0, or 0 to follow the trained length; "
                "10000 is the paper's"
            )
        if not 0 <= spread <= 2 * math.pi:
            raise PositionError(f"pope: spread={spread} must be from 0 to 2 pi (6.2832)")
        self.base = base
        self.resolved_base = base or defaults.rotary_base(shape.trained_length)
        self.spread = spread
        self.offsets = nn.Parameter(torch.empty(shape.heads, shape.head_dim))
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw offsets from U(-spread, 0); 0 is on the border, where slopes still pass."""
        nn.init.uniform_(self.offsets, -self.spread, 0.0, generator=generator)

    def resolved_options(self) -> dict[str, float]:
        return {"base": self.resolved_base}

    @property
    def softmax_scale(self) -> float:
        return self.shape.head_dim**-0.5

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
        keys = self.angles(layout.key_positions)
        queries = keys if layout.self_attention else self.angles(layout.query_positions)
        cosine, sine = queries
        offsets = upcast(self.offsets).clamp(-2 * math.pi, 0.0)[:, None]
        turned_cosine, turned_sine = offsets.cos(), offsets.sin()
        # The angle less the offset, by the addition theorem: no cosine for every head.
        cosine, sine = (
            cosine * turned_cosine + sine * turned_sine,
            sine * turned_cosine - cosine * turned_sine,
        )
        return Angles(cosine, sine), keys

    def transform_queries(
        self, queries: Tensor, tables: tuple[Angles, Angles], state: State
    ) -> Tensor:
        return polar(queries, tables[0])

    def transform_keys(self, keys: Tensor, tables: tuple[Angles, Angles], state: State) -> Tensor:
        return polar(keys, tables[1])


def polar(x: Tensor, angles: Angles) -> Tensor:
    """Return x (batch, heads, time, head_dim) as magnitudes at angles, twice as wide."""
    magnitude = F.softplus(upcast(x))
    return torch.cat((magnitude * angles.cosine, magnitude * angles.sine), -1).to(x.dtype)
