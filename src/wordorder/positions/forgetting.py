"""Forgetting attention: scores fall by what was forgotten between key and query.

Each head has a forget gate, as recurrent networks do, computed from every token's hidden
state. The logarithms of all gates after a key, up to the query, are added to their score:
a text is forgotten where it says so, and no position is needed. The sums are differences of
one running sum, which is cached beside the keys in float64: it grows with the text, and
float32 would lose the gates of near tokens far into it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import ModelShape, Position, PositionError, Score, State, Tables, TokenLayout, upcast


class Forgetting(Position):
    """Adds to each score the logarithms of all forget gates after the key, to the query's.

    It sees order alone: positions have no effect. Padding forgets nothing.

    Raises:
        PositionError: a bidirectional model, where later tokens cannot be forgotten.

    Source: Lin et al. 2025, Forgetting Transformer, section 3: the gates are
    f_t = sigmoid(w · x_t + b) for each head, and score(i, j) gains the sum of log f_l over
    j < l <= i.
    Not here: the paper's "Pro" block (output gate, QK-norm, shifted keys and values), which
    is the model's.
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
        "Decoding goes on from the cached sum; started anew, a gate loses all before it.",
        "Padding contributes nothing to the sum, also where it has a hidden state.",
    )
    door = "score"
    matrices = ("weight",)

    def __init__(self, shape: ModelShape, /) -> None:
        super().__init__(shape)
        if not shape.causal:
            raise PositionError(
                "forgetting sums gates over the past, and this model sees the future too: "
                "use --position rotary, or a causal model"
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
        # Whole numbers have exact differences in float32, and what is left of the sums is
        # small: so the difference of two large sums is exact too.
        sums = state.transpose(1, 2)
        whole = sums.detach().round()
        dtype = upcast(queries).dtype
        whole, rest = whole.to(dtype), (sums - whole).to(dtype)

        def forgetting(
            score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor
        ) -> Tensor:
            between = whole[batch, head, query] - whole[batch, head, key]
            # The difference is new memory, and ours to add to.
            return between.add_(rest[batch, head, query]).sub_(rest[batch, head, key]).add_(score)

        return forgetting
