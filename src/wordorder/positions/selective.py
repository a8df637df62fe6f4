"""Selective rotary embedding: the angle between neighbouring tokens depends on their content.

Rotary adds the same angle at every position. Here each token adds its own angle to a running
sum, for every pair of every head, and queries and keys are rotated by the sum so far; so a
score depends on the sum of the angles between key and query. A token that adds no angle has no
length; one that adds half a turn flips a sign, which computes parity, impossible for rotary or
plain attention in one layer. Sums are float64, reduced to one turn, so they are as exact after
a million tokens as after ten.

It is in the catalogue because it is rotary made content-dependent, which can be compared with
rotary pair by pair, and because the authors' code settles what the paper leaves open.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Position, PositionError, State, upcast
from .layout import TokenLayout
from .rotary import Rotation, rotate
from .shape import ModelShape
from .short_convolution import recent


class Selective(Position):
    """Rotary whose angles are sums of angles computed from each token's hidden state.

    Args:
        base: the angles of pair i of a head of d dimensions are multiplied by base^(-2i/d);
            the authors use 500000.
        rank: rank of the projection from the input to angles, at least 1; the paper uses 8
            and 16.
        taps: tokens in the short convolution, the token's own included; the authors use 4.
        gate: multiply each head's angles by a sigmoid of the input, the paper's phase gate.

    Raises:
        PositionError: an odd head size, a base that is not positive, rank or taps below 1.

    Source: Movahedi et al. 2026, ICLR, equation 13, section 4.1, figure 4 and section 4.3:
    angle_t = base^(-2i/d) * sum_{s <= t} convolution(W2 W1 x_s / |x_s|); queries and keys are
    rotated by angle_t, where rotary has t * base^(-2i/d).
    Not here: the trained bias of the angle, the SiLU after the convolution and the full-rank
    projection with weight norm, which the paper also tries; its other temperatures.
    """

    summary = "Rotary whose angles are sums of angles computed from each token's content."
    source = "Movahedi et al. 2026 (arXiv 2511.17388), equation 13 and section 4"
    door = "query-key"
    formula = (
        "score = (R(θᵢ) qᵢ)·(R(θⱼ) kⱼ) / √d,  θₜ = base^(−2p/d) Σ_{s≤t} ωₛ  for pair p\n"
        "ωₛ = g · convolution(W₂ W₁ xₛ/‖xₛ‖),  g = 1, or σ(u·xₛ/‖xₛ‖ + b) with gate=true"
    )
    traps = (
        "Large sums of angles lose their fraction in float32 or bfloat16, and with it the "
        "position: long sequences need float64.",
        "Initial angles are small: an untrained model behaves nearly as one without positions.",
        "Decoding must continue the cached sum: if it restarts at zero, queries no longer match "
        "cached keys.",
        "Padding must add no angle.",
        "Every document of a packed row starts its own sum: one that goes on cancels only in "
        "products of queries and keys.",
        "Angles are per query head: with grouped queries each key is rotated once for every query "
        "head that uses it.",
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
                f"selective rotates pairs of dimensions, so the head size {shape.head_dim} must "
                "be even: choose another --head-dim",
                code="positions.selective-head-size",
            )
        if not base > 0:
            raise PositionError(
                f"selective: base={base} must be positive; the authors use 500000",
                code="positions.selective-base",
            )
        if rank < 1 or taps < 1:
            raise PositionError(
                f"selective: rank={rank} and taps={taps} must be at least 1",
                code="positions.selective-sizes",
            )
        self.base, self.rank, self.taps, self.gate = base, rank, taps, gate
        inner = shape.heads * shape.head_dim // 2
        self.down = nn.Parameter(torch.empty(rank, shape.width))
        self.up = nn.Parameter(torch.empty(inner, rank))
        self.convolution = nn.Parameter(torch.empty(taps, inner))
        if gate:
            self.gate_weight = nn.Parameter(torch.empty(shape.heads, shape.width))
            self.gate_bias = nn.Parameter(torch.empty(shape.heads))
        self.matrices = ("down", "up", "gate_weight") if gate else ("down", "up")
        if taps > 1:
            self.order_leak = f"its convolution reveals the order of {taps} tokens"
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw uniformly up to 1/sqrt(inputs), PyTorch's default, as the authors' code does."""
        inputs = {"down": self.shape.width, "up": self.rank, "convolution": self.taps}
        for name, weight in self.named_parameters():
            bound = 1 / math.sqrt(inputs.get(name, self.shape.width))
            nn.init.uniform_(weight, -bound, bound, generator=generator)

    def frequencies(self) -> Tensor:
        """Return the factor of each pair's angles, (head_dim / 2,) float64 on the CPU."""
        pairs = self.shape.head_dim // 2
        return self.base ** -(torch.arange(pairs, dtype=torch.float64, device="cpu") / pairs)

    def prepare(self, layout: TokenLayout) -> Tensor:
        return layout.query_indices

    def state(self, x: Tensor, layout: TokenLayout, previous: State) -> tuple[Tensor, Tensor]:
        """Return angles of new tokens, and the input of the convolution.

        Angles are float64: decoding adds to the last one, and over thousands of tokens the
        rounding of float32 would accumulate.

        Shapes: (batch, time, heads, pairs) from -pi to pi, and (batch, time, rank).
        """
        unit = F.normalize(upcast(x), dim=-1)  # (batch, time, width)
        low = unit @ self.down.to(unit.dtype).mT  # (batch, time, rank)
        all_low = low if previous is None else torch.cat((previous[1], low), 1)
        # Projection and convolution are one product, whose weights are (taps * rank, inner).
        up, convolution = self.up.to(unit.dtype), self.convolution.to(unit.dtype)
        taps = (convolution[..., None] * up).transpose(1, 2).flatten(0, 1)
        steps = recent(all_low, layout, self.taps).flatten(2) @ taps  # (batch, time, inner)
        steps = steps.unflatten(-1, (self.shape.heads, -1))  # (batch, time, heads, pairs)
        if self.gate:
            gate = unit @ self.gate_weight.to(unit.dtype).mT + self.gate_bias.to(unit.dtype)
            steps = steps * gate.sigmoid()[..., None]
        if layout.query_documents is not None:
            steps = steps * (layout.query_documents >= 0)[..., None, None]  # padding adds nothing
        precise = steps if steps.device.type == "mps" else steps.double()  # mps lacks float64
        angles = (precise * self.frequencies().to(precise)).cumsum(1)
        if previous is not None:
            angles = angles + previous[0][:, -1:].to(angles.dtype)
        if layout.key_documents is not None:
            angles = angles - _before_documents(angles, previous, layout)
        turns = (angles.detach() / (2 * math.pi)).round()
        return angles - 2 * math.pi * turns, low

    def transform_queries(self, queries: Tensor, tables: Tensor, state: State) -> Tensor:
        return rotate(queries, rotation(state[0][:, tables].to(upcast(queries).dtype)))

    def transform_keys(self, keys: Tensor, tables: Tensor, state: State) -> Tensor:
        """Return rotated keys with as many heads as queries, because angles are per head."""
        keys = keys.repeat_interleave(self.shape.heads // keys.shape[1], 1)
        return rotate(keys, rotation(state[0].to(upcast(keys).dtype)))


def _before_documents(sums: Tensor, previous: State, layout: TokenLayout) -> Tensor:
    """Return the sum before each new token's document; 0 if a cached token began the document.

    Sums that continued across documents would give the same products of queries and keys, but
    another embedding of the layer may use queries or keys by themselves.

    Shapes: sums (batch, time, heads, pairs), which continue the cached sums; the result likewise.
    """
    assert layout.key_documents is not None
    documents, time = layout.key_documents, sums.shape[1]
    index = torch.arange(documents.shape[1], device=documents.device)
    last = torch.where(documents >= 0, index, -1).cummax(1).values  # padding is passed over
    documents = documents.gather(1, last.clamp(min=0)).where(last >= 0, -1)
    begins = documents != torch.cat((torch.full_like(documents[:, :1], -1), documents[:, :-1]), 1)
    begins = begins[:, layout.query_indices]  # (batch, time)
    first = torch.where(begins, torch.arange(time, device=index.device), -1).cummax(1).values
    zero = torch.zeros_like(sums[:, :1])
    cached = zero if previous is None else previous[0][:, -1:].to(sums.dtype)
    before = torch.cat((cached, sums[:, :-1]), 1)
    chosen = first.clamp(min=0)[..., None, None].expand(-1, -1, *sums.shape[2:])
    return before.gather(1, chosen) * (first >= 0)[..., None, None]


def rotation(angles: Tensor) -> Rotation:
    """Return the rotation by angles (batch, time, heads, pairs)."""
    angles = angles.transpose(1, 2)
    cosine, sine = angles.cos(), angles.sin()
    eager = angles.device.type == "cpu" and not torch.compiler.is_compiling()
    return Rotation(cosine, sine, torch.complex(cosine, sine) if eager else None)
