"""Forgetting attention: scores fall by the forget gates of the tokens between key and query.

Each head has a forget gate, as recurrent networks have, computed from every token's hidden
state. The logarithms of the gates after a key, up to and including the query's, are added to
the score of the pair. So content decides what is forgotten, and no positions are needed. Each
sum is a difference of one running sum, which is cached beside the keys. The running sum grows
with the sequence, so it is float64: far into a sequence float32 would lose the gates of
neighbouring tokens.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Position, PositionError, Score, State, Tables, upcast
from .layout import TokenLayout
from .shape import ModelShape


class Forgetting(Position):
    """Adds to each score the logarithms of the forget gates after the key, up to the query.

    Only order matters: positions have no effect. The gate of a padding token is 1.

    Raises:
        PositionError: a bidirectional model; gates are defined for past tokens only.

    Source: Lin et al. 2025, Forgetting Transformer, section 3: the gates are
    f_t = sigmoid(w · x_t + b) for each head, and score(i, j) gains the sum of log f_l over
    j < l <= i.
    Not here: the paper's "Pro" block (output gate, QK-norm, shifted keys and values), which
    belongs to the model.
    """

    summary = "Scores fall by forget gates, computed from the tokens between key and query."
    source = "Lin et al. 2025, section 3"
    formula = (
        "score(i, j) = q_i · k_j / √head_dim + Σ_{j < l ≤ i} log f_l\n"
        "f_l = sigmoid(w · x_l + b), for each head"
    )
    traps = (
        "The gate is computed from the layer's input, not from the key.",
        "Logarithms of gates are summed in float32 or better, whatever the model's dtype.",
        "Decoding continues from the cached sum: a sum that restarts ignores all earlier gates.",
        "Padding must add nothing to the sum, although padding tokens have hidden states.",
    )
    door = "score"
    matrices = ("weight",)

    def __init__(self, shape: ModelShape, /) -> None:
        super().__init__(shape)
        if not shape.causal:
            raise PositionError(
                "forgetting sums gates over past tokens, so it needs a causal model: "
                "use --position rotary in a bidirectional one",
                code="positions.forgetting-bidirectional",
            )
        self.weight = nn.Parameter(torch.empty(shape.heads, shape.width))
        self.bias = nn.Parameter(torch.empty(shape.heads))
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw weights from N(0, 0.02) and set biases to 0, as the authors' code does.

        Every gate starts near one half.
        """
        nn.init.normal_(self.weight, std=0.02, generator=generator)
        nn.init.zeros_(self.bias)

    def state(self, x: Tensor, layout: TokenLayout, previous: State) -> Tensor:
        """Return the running sums of log gates, (batch, time, heads) float64."""
        x = upcast(x)
        gates = F.logsigmoid(F.linear(x, self.weight.to(x.dtype), self.bias.to(x.dtype)))
        if layout.query_documents is not None:
            gates = gates.masked_fill(layout.query_documents[..., None] < 0, 0.0)
        # Apple's GPUs have no float64.
        sums = gates.cumsum(1, dtype=torch.float32 if x.device.type == "mps" else torch.float64)
        return sums if previous is None else previous[:, -1:] + sums

    def score(self, queries: Tensor, keys: Tensor, tables: Tables, state: Tensor) -> Score:
        # Sums are split into an integer and a small rest. Differences of integers are exact in
        # float32, so the difference of two large sums is as exact as that of two small ones.
        sums = state.transpose(1, 2)  # (batch, heads, key)
        whole = sums.detach().round()
        dtype = upcast(queries).dtype
        whole, rest = whole.to(dtype), (sums - whole).to(dtype)
        rest_of_keys = rest.clone()  # a fused kernel's gradient allows one lookup per tensor

        def forgetting(
            score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor
        ) -> Tensor:
            between = whole[batch, head, query] - whole[batch, head, key]
            # The difference is new memory, so adding in place is safe.
            return (
                between.add_(rest[batch, head, query])
                .sub_(rest_of_keys[batch, head, key])
                .add_(score)
            )

        return forgetting
