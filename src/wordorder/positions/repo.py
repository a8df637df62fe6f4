"""RePo: rotary at positions that the model computes from each token, real numbers.

Rotary gives a token its place in the sequence. Here a small network in each layer computes a
number from the token's hidden state, for every head, and queries and keys are rotated as if the
token were at that position. So a head can place related tokens close together, however far apart
they are in the text, and give the same position to tokens that it need not distinguish.

A token's index in the sequence has no effect: a layer learns about order only through its input,
from the causal mask or from other layers. The authors keep rotary in the first 5 of 16 layers;
similarly, `rotary/repo/repo` keeps it in the first of every three layers.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import defaults
from .base import Position, PositionError, State, upcast
from .layout import TokenLayout
from .rotary import rotate
from .selective import rotation
from .shape import ModelShape


class Repo(Position):
    """Rotates queries and keys by frequencies times positions computed from hidden states.

    Args:
        base: frequencies are base^(-2i/d) for pair i; 0: scaled with the trained length, as in
            rotary; the authors use 500,000, the base of the model that they fine-tune.
        inner: width of the network; 0: an eighth of the model's width, as in the authors' code.

    Raises:
        PositionError: an odd head size, a negative base or inner.

    Source: Li et al. 2025, "RePo: Language Models with Context Re-Positioning" (arXiv
    2512.14391) and its code: z = W_z (silu(W_g h) * W_c h), one number per head, and rotary
    with z in place of the position.
    Not here: a number shared by heads, and other networks, which the authors' code has too;
    frequencies scaled for longer contexts.
    """

    summary = "Rotary at real positions that a small network computes from each token."
    source = "Li et al. 2025, RePo (arXiv 2512.14391)"
    door = "query-key"
    tells_order = False
    formula = (
        "score = (R(zᵢ) qᵢ)·(R(zⱼ) kⱼ) / √d,  R(z) rotates pair p by z · base^(−2p/d)\n"
        "zₜ = W_z (silu(W_g xₜ) ⊙ W_c xₜ), a real number per head, x the layer's input"
    )
    traps = (
        "A token's index has no effect: by itself this embedding reveals no order in a "
        "bidirectional model or in a causal model's first layer, so keep rotary in the first "
        "layers.",
        "Initial positions are close together: an untrained layer behaves nearly as one without "
        "positions.",
        "The numbers must be cached beside the keys, not computed from positions.",
        "Rounded to bfloat16, positions above 256 are whole numbers: compute them in float32.",
        "Positions are per query head: with grouped queries each key is rotated once for every "
        "query head that uses it.",
    )
    follows = (defaults.FOLLOWS_BASE,)

    def __init__(self, shape: ModelShape, /, *, base: float = 0.0, inner: int = 0) -> None:
        super().__init__(shape)
        if shape.head_dim % 2:
            raise PositionError(
                f"repo rotates pairs of dimensions, so the head size {shape.head_dim} must be "
                "even: choose another --head-dim",
                code="positions.repo-head-size",
            )
        if not base >= 0 or inner < 0:
            raise PositionError(
                f"repo: base={base} and inner={inner} must be positive; base=0 follows the trained "
                "length, inner=0 the width",
                code="positions.repo-option",
            )
        self.base = base
        self.resolved_base = base or defaults.rotary_base(shape.trained_length)
        self.inner = inner
        size = inner or max(1, shape.width // 8)
        self.gate = nn.Parameter(torch.empty(size, shape.width))
        self.content = nn.Parameter(torch.empty(size, shape.width))
        self.out = nn.Parameter(torch.empty(shape.heads, size))
        self.matrices = ("gate", "content", "out")
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw uniformly up to 1/sqrt(inputs), PyTorch's default."""
        for weight in (self.gate, self.content, self.out):
            bound = 1 / math.sqrt(weight.shape[1])
            nn.init.uniform_(weight, -bound, bound, generator=generator)

    def resolved_options(self) -> dict[str, float]:
        return {"base": self.resolved_base}

    def prepare(self, layout: TokenLayout) -> Tensor:
        return layout.query_indices

    def state(self, x: Tensor, layout: TokenLayout, previous: State) -> tuple[Tensor]:
        """Return the positions of new tokens, (batch, time, heads) float32."""
        wide = upcast(x)
        gate, content, out = (
            weight.to(wide.dtype).mT for weight in (self.gate, self.content, self.out)
        )
        return ((F.silu(wide @ gate) * (wide @ content)) @ out,)

    def angles(self, positions: Tensor) -> Tensor:
        """Return the angles (batch, time, heads, pairs) at positions (batch, time, heads)."""
        pairs = self.shape.head_dim // 2
        exponent = torch.arange(pairs, dtype=torch.float64, device="cpu") / pairs
        return positions[..., None] * (self.resolved_base**-exponent).to(positions)

    def transform_queries(self, queries: Tensor, tables: Tensor, state: State) -> Tensor:
        angles = self.angles(state[0][:, tables].to(upcast(queries).dtype))
        return rotate(queries, rotation(angles))

    def transform_keys(self, keys: Tensor, tables: Tensor, state: State) -> Tensor:
        """Return rotated keys with as many heads as queries, because positions are per head."""
        keys = keys.repeat_interleave(self.shape.heads // keys.shape[1], 1)
        return rotate(keys, rotation(self.angles(state[0].to(upcast(keys).dtype))))
