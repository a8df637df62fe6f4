"""xPos: rotary whose scores also fall with distance, faster in the pairs that turn faster.

Queries are multiplied by a power of their position and keys by its inverse, so that a
product keeps zeta^(distance). Powers of positions themselves leave float32 soon: 10^17 at
position 16,000 with a scale_base of 512, and nothing is left of the products. Only differences
count, so positions are taken from the middle of the queries that are read: a key far behind
only gets small, as it should, and generating goes on without end. What remains bounded is how
far apart the queries of one reading may be (64 times scale_base): past that it raises, and the
text is to be read in pieces. The middle moves as reading goes on, so keys are never kept rotated.
"""

import math

import torch
from torch import Tensor

from . import defaults
from .angles import exact
from .base import ModelShape, Position, PositionError, State, TokenLayout
from .rotary import Rotation, rotate, rotation

# The largest natural logarithm of a scale. A hidden pair, with the key at one end of the
# queries and the query at the other, gets the square: e^80 times its product, in float32.
LARGEST = 40.0
# Of the positions it takes to decay once: with fewer, no 1,000 positions fit into one reading.
LEAST_SCALE = 16.0


class XPos(Position):
    """Turns queries and keys as rotary does, and lets each pair's product decay.

    Args:
        base: frequencies are base^(-2i/dim), as in rotary; 0: as rotary's follows from the
            trained length.
        scale_base: positions it takes to decay by zeta once; more is slower; 0: half of the
            trained length, from 16 to 512, the authors' for 1,024 tokens.
        gamma: zeta of pair i is (2i/dim + gamma) / (1 + gamma); more is slower.

    Raises:
        PositionError: an odd head size, a bidirectional model (scores would grow with the
            distance to what comes after), an option not above 0; at run time, queries too
            far apart to be read at once.

    Source: Sun et al. 2022, A Length-Extrapolatable Transformer, Algorithm 1; scale_base 512
    is the authors' code's, for 1,024 tokens:
    q'_m . k'_n = Re sum_i q_i conj(k_i) zeta_i^((m - n) / scale_base)
    exp(i (m - n) theta_i).
    Not here: the paper's blockwise attention, which is a sliding window of the model.
    """

    summary = "Rotary whose scores also decay with distance, faster in fast pairs."
    source = "Sun et al. 2022, Algorithm 1"
    formula = (
        "q′ₘ = q · exp(𝑖 m θᵢ) · ζᵢ^((m−c)/scale_base)\n"
        "k′ₙ = k · exp(𝑖 n θᵢ) · ζᵢ^((c−n)/scale_base)\n"
        "ζᵢ = (2i/dim + γ) / (1 + γ),   θᵢ = base^(−2i/dim);   the centre c cancels"
    )
    traps = (
        "Scales are powers of the position: about a fixed centre they overflow. Here the centre "
        "follows the queries, which at once may span 64 times scale_base.",
        "In a float16 model scales and hidden products overflow sooner: read at most 4 times "
        "scale_base at once.",
        "Keys take the inverse scale: with the same one scores grow with distance.",
        "It is causal: after the query the same formula grows instead of decaying.",
        "Keys kept rotated about an older centre are wrong for a newer one.",
    )
    door = "query-key"
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
                f"xpos turns pairs, but the head size is {shape.head_dim}: choose an even one"
            )
        if not shape.causal:
            raise PositionError(
                "xpos grows with the distance to what comes after: use it in a causal model, "
                "or rotary in a bidirectional one"
            )
        if not gamma > 0:
            raise PositionError(f"xpos: gamma={gamma} must be above 0; 0.4 is the paper's")
        for name, value, paper in (("base", base, 10000), ("scale_base", scale_base, 512)):
            if not value >= 0:
                raise PositionError(
                    f"xpos: {name}={value} must be above 0, or 0 to follow the trained length; "
                    f"{paper} is the paper's"
                )
        self.base = base
        self.scale_base = scale_base
        self.gamma = gamma
        length = shape.trained_length
        self.resolved_base = base or defaults.rotary_base(length)
        half = max(LEAST_SCALE, defaults.shrunk(512.0, 1024, length))
        self.resolved_scale_base = scale_base or half
        self.pairs = shape.head_dim // 2
        # The largest difference of positions among the queries of one reading.
        self.widest = int(2 * LARGEST / float(self.decays()[0]))

    def resolved_options(self) -> dict[str, float]:
        return {"base": self.resolved_base, "scale_base": self.resolved_scale_base}

    def frequencies(self) -> Tensor:
        """Return the angle per position of each pair, (pairs,) float64 on the CPU."""
        index = torch.arange(self.pairs, dtype=torch.float64, device="cpu")
        return self.resolved_base ** (-index / self.pairs)

    def decays(self) -> Tensor:
        """Return what each pair's logarithm loses per position, (pairs,) float64 on the CPU."""
        index = torch.arange(self.pairs, dtype=torch.float64, device="cpu")
        zeta = (index / self.pairs + self.gamma) / (1 + self.gamma)
        return -zeta.log() / self.resolved_scale_base

    def centre(self, layout: TokenLayout) -> Tensor:
        """Return the middle of each row's query positions, (batch or 1, 1) float64.

        Padding is left out. What the middle is does not matter, only that queries and keys
        have the same one.
        """
        low = high = exact(layout.query_positions)
        if layout.query_documents is not None:
            padding = layout.query_documents.to(low.device) < 0
            low, high = torch.where(padding, math.inf, low), torch.where(padding, -math.inf, high)
        low, high = low.amin(1, keepdim=True), high.amax(1, keepdim=True)
        if not torch.compiler.is_compiling() and (high - low).max() > self.widest:
            raise PositionError(
                f"xpos: positions {float((high - low).max()):.0f} apart are read at once, and its "
                f"scales hold {self.widest}: read the text in shorter pieces, with a cache"
            )
        return ((low + high) / 2).nan_to_num(0.0)  # a row of padding alone has no middle

    def prepare(self, layout: TokenLayout) -> tuple[Rotation, Rotation]:
        centre, frequencies = self.centre(layout), self.frequencies()
        queries = keys = rotation(layout.query_positions[..., None], frequencies)
        if not layout.self_attention:
            keys = rotation(layout.key_positions[..., None], frequencies)
        return (
            self._scaled(queries, exact(layout.query_positions) - centre),
            self._scaled(keys, centre - exact(layout.key_positions)),
        )

    def _scaled(self, turned: Rotation, ahead: Tensor) -> Rotation:
        """Return a rotation times zeta to the power of how far `ahead` (batch, time) it is."""
        exponent = ahead[:, None, :, None] * -self.decays().to(ahead.device)
        # What is that large is hidden from every query: it has only to stay finite.
        scale = exponent.clamp(max=LARGEST).exp().float().to(turned.cosine.device)
        unit = None if turned.unit is None else turned.unit * scale
        return Rotation(turned.cosine * scale, turned.sine * scale, unit)

    def transform_queries(
        self, queries: Tensor, tables: tuple[Rotation, Rotation], state: State
    ) -> Tensor:
        return rotate(queries, tables[0])

    def transform_keys(
        self, keys: Tensor, tables: tuple[Rotation, Rotation], state: State
    ) -> Tensor:
        return rotate(keys, tables[1])
