"""Selective rotary embedding: how far a token turns queries and keys depends on the token.

Rotary turns by one angle per position. Here each token adds an angle of its own to a running
sum, in every pair of every head, and queries and keys are turned by the sum so far: the
score sees the angle that lies between them. A token that adds nothing takes no room; one
that adds half a turn flips a sign, which is parity, out of reach of rotary and of plain
attention in one layer. Sums are taken in float64 and kept as angles within a turn, so that
they are as exact after a million tokens as after ten.

Chosen among the newer embeddings because it is rotary itself made to depend on content, to
be compared with it pair by pair, and because its authors' code settles what the paper leaves
open.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import ModelShape, Position, PositionError, State, TokenLayout, upcast
from .rotary import Rotation, rotate
from .short_convolution import recent


class Selective(Position):
    """Rotary with angles that each token adds for itself, from the layer's input.

    Args:
        base: pair i of a head of d dimensions turns base^(-2i/d) times what its token asks;
            500000 is the authors'.
        rank: of the projection from the input to angles; 8 or 16 in the paper.
        taps: tokens that the short convolution sees, the newest its own; the authors' 4.
        gate: multiply each head's angles by a sigmoid of the input, the paper's phase gate.

    Raises:
        PositionError: an odd head size, a base not above 0, rank or taps below 1.

    Source: Movahedi et al. 2026, ICLR, equation 13, section 4.1, figure 4 and section 4.3:
    angle_t = base^(-2i/d) * sum_{s <= t} convolution(W2 W1 x_s / |x_s|), queries and keys
    turned by it as rotary turns by t * base^(-2i/d).
    Not here: the trained bias of the angle, the SiLU after the convolution and the full-rank
    projection with weight norm, which the paper tries too; its other temperatures.
    """

    summary = "Rotary whose angles each token adds for itself, by its content."
    source = "Movahedi et al. 2026 (arXiv 2511.17388), equation 13 and section 4"
    door = "query-key"
    formula = (
        "score = (R(θᵢ) qᵢ)·(R(θⱼ) kⱼ) / √d,  θₜ = base^(−2p/d) Σ_{s≤t} ωₛ  for pair p\n"
        "ωₛ = g · convolution(W₂ W₁ xₛ/‖xₛ‖),  g = 1, or σ(u·xₛ/‖xₛ‖ + b) with gate=true"
    )
    traps = (
        "Sums of angles in float32 or bfloat16 lose their fractions in a long text, and with "
        "them the position.",
        "First angles are small: a fresh model reads nearly as one without positions.",
        "The sum must go on where the cached text ended; from zero again, keys and queries no "
        "longer match.",
        "Padding must add no angle.",
        "Angles are per head: with grouped queries each key is turned once for every query head "
        "it serves.",
    )

    def __init__(
        self,
        shape: ModelShape,
        /,
        *,
        base: float = 500000.0,
        rank: int = 16,
        taps: int = 4,
        gate: bool = False,
    ) -> None:
        super().__init__(shape)
        if shape.head_dim % 2:
            raise PositionError(
                f"selective turns pairs, but the head size is {shape.head_dim}: choose an even one"
            )
        if not base > 0:
            raise PositionError(f"selective: base={base} must be above 0; try 500000")
        if rank < 1 or taps < 1:
            raise PositionError(f"selective: rank={rank} and taps={taps} must be at least 1")
        self.base, self.rank, self.taps, self.gate = base, rank, taps, gate
        inner = shape.heads * shape.head_dim // 2
        self.down = nn.Parameter(torch.empty(rank, shape.width))
        self.up = nn.Parameter(torch.empty(inner, rank))
        self.convolution = nn.Parameter(torch.empty(taps, inner))
        if gate:
            self.gate_weight = nn.Parameter(torch.empty(shape.heads, shape.width))
            self.gate_bias = nn.Parameter(torch.empty(shape.heads))
        self.matrices = ("down", "up", "gate_weight") if gate else ("down", "up")
        self.reset_parameters()

    @property
    def order_leak(self) -> str:
        return f"its convolution shows the order of {self.taps} tokens" if self.taps > 1 else ""

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw uniformly up to 1/sqrt(inputs), PyTorch's own rule, which the authors' has."""
        inputs = {"down": self.shape.width, "up": self.rank, "convolution": self.taps}
        for name, weight in self.named_parameters():
            bound = 1 / math.sqrt(inputs.get(name, self.shape.width))
            nn.init.uniform_(weight, -bound, bound, generator=generator)

    def frequencies(self) -> Tensor:
        """Return what each pair multiplies angles by, (head_dim / 2,) float64 on the CPU."""
        pairs = self.shape.head_dim // 2
        return self.base ** -(torch.arange(pairs, dtype=torch.float64, device="cpu") / pairs)

    def prepare(self, layout: TokenLayout) -> Tensor:
        return layout.query_indices

    def state(self, x: Tensor, layout: TokenLayout, previous: State) -> tuple[Tensor, Tensor]:
        """Return angles (batch, time, heads, pairs) from -pi to pi, and what is convolved.

        Angles are kept in float64: decoding goes on from the last one, and what a float32 one
        has lost, thousands of tokens add up.
        """
        unit = F.normalize(upcast(x), dim=-1)
        low = unit @ self.down.to(unit.dtype).mT
        every = low if previous is None else torch.cat((previous[1], low), 1)
        # Up and then convolved is one product: each tap's weights scale the rows of `up`.
        up, convolution = self.up.to(unit.dtype), self.convolution.to(unit.dtype)
        taps = (convolution[..., None] * up).transpose(1, 2).flatten(0, 1)
        steps = recent(every, layout, self.taps).flatten(2) @ taps
        steps = steps.unflatten(-1, (self.shape.heads, -1))
        if self.gate:
            opened = unit @ self.gate_weight.to(unit.dtype).mT + self.gate_bias.to(unit.dtype)
            steps = steps * opened.sigmoid()[..., None]
        if layout.query_documents is not None:
            steps = steps * (layout.query_documents >= 0)[..., None, None]
        precise = steps if steps.device.type == "mps" else steps.double()  # mps has no float64
        angles = (precise * self.frequencies().to(precise)).cumsum(1)
        if previous is not None:
            angles = angles + previous[0][:, -1:].to(angles.dtype)
        turns = (angles.detach() / (2 * math.pi)).round()
        return angles - 2 * math.pi * turns, low

    def transform_queries(self, queries: Tensor, tables: Tensor, state: State) -> Tensor:
        return rotate(queries, rotation(state[0][:, tables].to(upcast(queries).dtype)))

    def transform_keys(self, keys: Tensor, tables: Tensor, state: State) -> Tensor:
        """Return keys turned once for each head: as many as there are query heads."""
        keys = keys.repeat_interleave(self.shape.heads // keys.shape[1], 1)
        return rotate(keys, rotation(state[0].to(upcast(keys).dtype)))


def rotation(angles: Tensor) -> Rotation:
    """Return cosines and sines of angles (batch, time, heads, pairs)."""
    angles = angles.transpose(1, 2)
    cosine, sine = angles.cos(), angles.sin()
    eager = angles.device.type == "cpu" and not torch.compiler.is_compiling()
    return Rotation(cosine, sine, torch.complex(cosine, sine) if eager else None)
