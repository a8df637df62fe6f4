"""xPos: rotary with scores that decay with distance, faster for pairs with higher frequencies.

Queries are multiplied by zeta^position and keys by zeta^-position, so a product contains
zeta^distance. These powers soon exceed float32: with a scale_base of 512 they are 10^17 at
position 16,000, and rounding ruins the products. Only differences of positions matter, so
positions are counted from the middle of the queries in a forward pass. A key far in the past
then merely becomes small, as it should, and generation is not limited. What is limited is the
span of query positions in one forward pass (64 times scale_base): generation and evaluation
process a longer sequence in pieces, and other passes raise an error. The middle moves from one
forward pass to the next, so caches never keep rotated keys.
"""

import math

import torch
from torch import Tensor

from . import defaults
from .angles import exact
from .base import Position, PositionError, State
from .layout import TokenLayout
from .rotary import Rotation, rotate, rotation
from .shape import ModelShape

# The largest natural logarithm of a scale. A masked pair, with the query at one end of the
# queries and the key at the other, has the product of two scales, e^80, which float32 holds.
LARGEST = 40.0
# The smallest scale_base by default: below it, the queries of one forward pass could not span
# 1,000 positions.
LEAST_SCALE = 16.0


class XPos(Position):
    """Rotates queries and keys as rotary does, with a decay of each pair's product.

    Args:
        base: frequencies are base^(-2i/dim), as in rotary; 0: scaled with the trained length,
            as in rotary.
        scale_base: number of positions over which a product decays by zeta; larger is slower;
            0: half of the trained length, from 16 to 512, the authors' value for 1,024 tokens.
        gamma: zeta of pair i is (2i/dim + gamma) / (1 + gamma); larger is slower.

    Raises:
        PositionError: an odd head size, a bidirectional model (scores would grow with the
            distance to future keys), an option that is not positive; at run time, queries
            whose positions span too wide a range.

    Source: Sun et al. 2022, A Length-Extrapolatable Transformer, Algorithm 1; scale_base 512
    is from the authors' code, for 1,024 tokens:
    q'_m . k'_n = Re sum_i q_i conj(k_i) zeta_i^((m - n) / scale_base)
    exp(i (m - n) theta_i).
    Not here: the paper's blockwise attention; the model's sliding window does the same.
    """

    summary = "Rotary with scores that decay with distance, faster at higher frequencies."
    source = "Sun et al. 2022, Algorithm 1"
    formula = (
        "q′ₘ = q · exp(𝑖 m θᵢ) · ζᵢ^((m−c)/scale_base)\n"
        "k′ₙ = k · exp(𝑖 n θᵢ) · ζᵢ^((c−n)/scale_base)\n"
        "ζᵢ = (2i/dim + γ) / (1 + γ),   θᵢ = base^(−2i/dim);   the centre c cancels"
    )
    traps = (
        "Scales are powers of positions, which overflow if counted from a fixed centre. Here the "
        "centre follows the queries, which may span 64 times scale_base in one forward pass.",
        "In a float16 model scales and masked products overflow sooner: process at most 4 times "
        "scale_base positions in one forward pass.",
        "Keys have the inverse of the queries' scale: with the same scale, scores grow with "
        "distance.",
        "It needs a causal model: for future keys the formula grows instead of decaying.",
        "Cached keys that were rotated with an earlier centre are wrong for a later one.",
    )
    door = "query-key"
    widest: int
    product_only = True  # the centre cancels in a product alone
    follows = (
        defaults.FOLLOWS_BASE,
        defaults.Follows("scale_base", "half of the trained length, from 16 to 512", 512.0),
    )

    def __init__(
        self,
        shape: ModelShape,
        /,
        *,
        base: float = 0.0,
        scale_base: float = 0.0,
        gamma: float = 0.4,
    ) -> None:
        super().__init__(shape)
        if shape.head_dim % 2:
            raise PositionError(
                f"xpos rotates pairs of dimensions, so the head size {shape.head_dim} must be "
                "even: choose another --head-dim",
                code="positions.xpos-head-size",
            )
        if not shape.causal:
            raise PositionError(
                "xpos multiplies the scores of later keys by growing factors, so it needs a "
                "causal model: use --position rotary in a bidirectional one",
                code="positions.xpos-bidirectional",
            )
        if not gamma > 0:
            raise PositionError(
                f"xpos: gamma={gamma} must be positive; the paper uses 0.4",
                code="positions.xpos-gamma",
            )
        for name, value, paper in (("base", base, 10000), ("scale_base", scale_base, 512)):
            if not value >= 0:
                raise PositionError(
                    f"xpos: {name}={value} must be positive, or 0 to scale it with the trained "
                    f"length; the paper uses {paper}",
                    code="positions.xpos-base",
                )
        self.base = base
        self.scale_base = scale_base
        self.gamma = gamma
        length = shape.trained_length
        self.resolved_base = base or defaults.rotary_base(length)
        half = max(LEAST_SCALE, defaults.shrunk(512.0, 1024, length))
        self.resolved_scale_base = scale_base or half
        self.pairs = shape.head_dim // 2
        decay = float(self.decays()[0])
        if not decay > 1e-12:
            raise PositionError(
                f"xpos: scale_base={self.resolved_scale_base:g} and gamma={gamma:g} are so large "
                "that nothing decays: use --position rotary",
                code="positions.xpos-no-decay",
            )
        # The largest difference of query positions in one forward pass.
        self.widest = int(2 * LARGEST / decay)

    def resolved_options(self) -> dict[str, float]:
        return {"base": self.resolved_base, "scale_base": self.resolved_scale_base}

    def frequencies(self) -> Tensor:
        """Return the angle per position of each pair, (pairs,) float64 on the CPU."""
        index = torch.arange(self.pairs, dtype=torch.float64, device="cpu")
        return self.resolved_base ** (-index / self.pairs)

    def decays(self) -> Tensor:
        """Return -ln(zeta) / scale_base of each pair, (pairs,) float64 on the CPU."""
        index = torch.arange(self.pairs, dtype=torch.float64, device="cpu")
        zeta = (index / self.pairs + self.gamma) / (1 + self.gamma)
        return -zeta.log() / self.resolved_scale_base

    def centre(self, layout: TokenLayout) -> Tensor:
        """Return the middle of each row's query positions, (batch or 1, 1) float64.

        Padding is left out. Any centre gives the same scores, as long as queries and keys
        use the same one.

        Raises:
            PositionError: query positions that span more than `widest`.
        """
        low = high = exact(layout.query_positions)
        if layout.query_documents is not None:
            padding = layout.query_documents.to(low.device) < 0
            low, high = torch.where(padding, math.inf, low), torch.where(padding, -math.inf, high)
        low, high = low.amin(1, keepdim=True), high.amax(1, keepdim=True)
        if not torch.compiler.is_compiling() and (high - low).max() > self.widest:
            raise PositionError(
                f"xpos: the queries span {float((high - low).max()):.0f} positions, more than the "
                f"{self.widest} whose scales fit in float32: set a larger scale_base, or read the "
                "sequence in shorter pieces, with a cache",
                code="positions.xpos-span",
            )
        return ((low + high) / 2).nan_to_num(0.0)  # a row of padding only: inf - inf

    def prepare(self, layout: TokenLayout) -> tuple[Rotation, Rotation]:
        centre, frequencies = self.centre(layout), self.frequencies()
        queries, keys = layout.at_both(lambda p: rotation(p[..., None], frequencies))
        return (
            self._scaled(queries, exact(layout.query_positions) - centre),
            self._scaled(keys, centre - exact(layout.key_positions)),
        )

    def _scaled(self, rotation: Rotation, power: Tensor) -> Rotation:
        """Return a rotation times zeta^(power / scale_base), with power (batch or 1, time)."""
        exponent = power[:, None, :, None] * -self.decays().to(power.device)
        # Keys with larger exponents are masked for every query, and only have to stay finite.
        scale = exponent.clamp(max=LARGEST).exp().float().to(rotation.cosine.device)
        unit = None if rotation.unit is None else rotation.unit * scale
        return Rotation(rotation.cosine * scale, rotation.sine * scale, unit)

    def transform_queries(
        self, queries: Tensor, tables: tuple[Rotation, Rotation], state: State
    ) -> Tensor:
        return rotate(queries, tables[0])

    def transform_keys(
        self, keys: Tensor, tables: tuple[Rotation, Rotation], state: State
    ) -> Tensor:
        return rotate(keys, tables[1])
