"""Stick-breaking attention: from the nearest key back, each takes a share of what is left.

A softmax compares all keys at once, so distance needs an embedding. Here the keys of a query are
visited from the nearest to the farthest. Each takes a share of the weight that is left, between 0
and 1, computed from its score alone; the rest goes on to the keys before. So of two keys with
equal scores the nearer one has more weight, no positions are needed, and a longer sequence only
adds keys at the far end. What no key takes is not given to anyone: weights may sum to less than 1.

The shares of a whole row are multiplied, so this embedding replaces attention. Products are sums
of logarithms, from the query back.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .base import Position, PositionError, Score, State, Tables
from .shape import ModelShape
from .whole_row import Tile, apply_score, attend_in_tiles, scaled_products


class StickBreaking(Position):
    """Replaces the softmax by shares that keys take one after another, the nearest first.

    Only order matters: positions have no effect.

    Args:
        own: a token attends to itself too, before all others; in the paper it does not, and
            the first token's output is zero.

    Raises:
        PositionError: a bidirectional model.

    Source: Tan et al. 2024, "Scaling Stick-Breaking Attention" (arXiv 2410.17980), section 2:
    weight_ij = b_ij prod_{j < k < i} (1 - b_ik), b_ij = sigmoid(q_i.k_j / sqrt(d)).
    Not here: giving what is left to the token's own value; the authors' fused kernel.
    """

    summary = "From the nearest key back, each takes a share of the weight that is left."
    source = "Tan et al. 2024 (arXiv 2410.17980), section 2"
    door = "row"
    formula = (
        "weightᵢⱼ = bᵢⱼ · Π_{j<k<i} (1 − bᵢₖ),  bᵢⱼ = σ(qᵢ·kⱼ / √d),  for j < i\n"
        "with own=true, for j ≤ i, and the product runs to i"
    )
    traps = (
        "The product runs over the keys between key and query, not over those before the key.",
        "Weights need not sum to 1: dividing by their sum would make it another method.",
        "Masked keys must take nothing and pass everything on.",
        "Products of thousands of shares underflow: sum their logarithms, log σ(−z), in float32.",
        "There is no sink: a query that finds nothing gives a small output instead of attending to "
        "the first token.",
    )

    def __init__(self, shape: ModelShape, /, *, own: bool = False) -> None:
        super().__init__(shape)
        if not shape.causal:
            raise PositionError(
                "stick-breaking visits keys from a query back, so it needs a causal model: use "
                "--position alibi in a bidirectional one",
                code="positions.stick-breaking-bidirectional",
            )
        self.own = own

    def attend(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        tables: Tables,
        state: State,
        may_attend: Tensor,
        score: Score | None,
        query_indices: Tensor,
    ) -> Tensor:
        scale = self.shape.head_dim**-0.5

        def scores_of(tile: Tile, queries: Tensor, keys: Tensor) -> Tensor:
            scores = scaled_products(queries, keys, scale, tile)  # (sequences, heads, rows, keys)
            return apply_score(scores, score, query_indices)

        if not self.own:
            every = query_indices.new_ones(keys.shape[2]).cumsum(0) - 1
            may_attend = may_attend & (every < query_indices[:, None])
        return attend_in_tiles(
            scores_of,
            (queries, keys),
            values,
            may_attend,
            query_indices,
            causal=True,
            one_tile=score is not None,
            normalise=shares,
        )


def shares(scores: Tensor, allowed: Tensor) -> Tensor:
    """Return the weights (..., query, key) of scores; `allowed` is the mask, which broadcasts."""
    taken = F.logsigmoid(scores).masked_fill(~allowed, float("-inf"))
    passed = F.logsigmoid(-scores).masked_fill(~allowed, 0.0)
    # Summed from the query back: far from the start a difference of sums would lose near keys.
    between = passed.flip(-1).cumsum(-1).flip(-1) - passed
    return (taken + between).exp()
