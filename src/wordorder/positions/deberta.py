"""DeBERTa's disentangled attention: content meets position, and position meets content.

A score has three terms: query content with key content, query content with the distance,
and key content with the distance seen from the key. Each side of a distance has a vector
of its own, a projection of one trained table. The three terms are three times the variance
of one, so scores are divided by the square root of three head sizes.

Both sides multiply all vectors at once, which is linear in the length, and each pair picks
its two products.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from . import defaults
from .base import ModelShape, Position, PositionError, Score, State, TokenLayout, upcast
from .pairs import Band, Pairs, ahead, gathered, less_far, picked


class Reach(NamedTuple):
    """The pairs of a forward pass, and the least distance that can be seen among them."""

    pairs: Pairs
    least: int


class Deberta(Position):
    """Adds products of queries and of keys with projected vectors of their clipped distance.

    Every layer has its own table and its own two projections, which multiply that table and no
    hidden states: AdamW trains all three (Muon on the two was 0.02 nats worse). In a causal
    model the vectors of the future are never read. Distances between whole numbers take the
    nearest.

    Args:
        span: distances of at least this, either way, share a vector; 0: a quarter of the
            trained length, at most 128. The paper's is 512, the length of its texts: longer
            ones then meet vectors that were never trained, and the tables, which are multiplied
            anew in every forward pass, are large beside a small model.

    Raises:
        PositionError: a negative span.

    Source: He et al. 2020, section 3.1, equations 3 and 4:
    A(i, j) = q_i · k_j + q_i · K[δ(i, j)] + k_j · Q[δ(j, i)], K = P W_k, Q = P W_q,
    δ(i, j) = clip(i - j, -span, span - 1) + span, and scores are A / sqrt(3 head_dim).
    Not here: one table for all layers; projections shared with the content's and distances
    in logarithmic buckets (its successors); absolute positions before the output layer.
    """

    summary = "Queries and keys each meet a projected vector of their clipped distance."
    source = "He et al. 2020, section 3.1, equations 3 and 4"
    formula = (
        "score(i, j) = (q_i · k_j + q_i · K[δ(i, j)] + k_j · Q[δ(j, i)]) / √(3 head_dim)\n"
        "δ(i, j) = clip(i − j, −span, span − 1) + span; K = P W_k, Q = P W_q"
    )
    traps = (
        "Three terms: scores are divided by √(3 head_dim), not by √head_dim.",
        "The key's term reads the distance from the key, δ(j, i), not δ(i, j).",
        "The authors' code and transformers read δ(i, j) there: Q is mirrored in checkpoints.",
    )
    door = "score"
    follows = (defaults.Follows("span", defaults.REACH_RULE, 512),)

    def __init__(self, shape: ModelShape, /, *, span: int = 0) -> None:
        super().__init__(shape)
        if span < 0:
            raise PositionError(
                f"deberta: span={span} must be 1 or more, or 0 to follow the trained length; "
                "512 is the paper's"
            )
        self.span = span
        self.resolved_span = span or defaults.reach(shape.trained_length)
        inner = shape.heads, shape.head_dim, shape.width
        self.table = nn.Parameter(torch.empty(2 * self.resolved_span, shape.width))
        self.key_weight = nn.Parameter(torch.empty(inner))
        self.query_weight = nn.Parameter(torch.empty(inner))
        self.reset_parameters()

    def resolved_options(self) -> dict[str, int]:
        return {"span": self.resolved_span}

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw everything from N(0, 0.02), as the authors' code does."""
        for parameter in (self.table, self.key_weight, self.query_weight):
            nn.init.normal_(parameter, std=0.02, generator=generator)

    @property
    def softmax_scale(self) -> float:
        return (3 * self.shape.head_dim) ** -0.5

    def prepare(self, layout: TokenLayout) -> Reach:
        past_only = layout.causal and layout.consecutive
        return Reach(Pairs.of(layout), 0 if past_only else -self.resolved_span)

    def score(self, queries: Tensor, keys: Tensor, tables: Reach, state: State) -> Score:
        pairs, least = tables
        span, most = self.resolved_span, self.resolved_span - 1
        queries, keys = upcast(queries) * self.softmax_scale, upcast(keys) * self.softmax_scale
        table = self.table.to(queries.dtype)
        # Only distances that can be seen, farthest back first: `most` to `least` from the
        # query, and what is the same seen from the key, `span` to `nearest`.
        nearest = max(least, -most)
        of_key = self.key_weight.to(table.dtype) @ table[span + least :].flip(0).mT
        of_query = table[: span - nearest + 1] @ self.query_weight.to(table.dtype).mT
        asked, answered = queries @ of_key, of_query @ keys.mT

        def disentangled(
            score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor
        ) -> Tensor:
            if pairs.consecutive and query.dim() > 1:
                return _banded(score, asked, answered, pairs, query, key)
            distance = pairs.distance(batch, query, key)
            from_query = most - distance.clamp(least, most)
            from_key = span - distance.clamp(nearest, span)
            # What is picked is new memory, and ours to add to.
            found = picked(asked, batch, head, pairs.rows[query], from_query)
            return found.add_(picked(answered, batch, head, from_key, key)).add_(score)

        return disentangled


def _banded(
    score: Tensor, asked: Tensor, answered: Tensor, pairs: Pairs, query: Tensor, key: Tensor
) -> Tensor:
    """Return scores with both products of consecutive positions added.

    All keys beyond the span get one product of their row and one of their own, those within
    the difference.

    Shapes: asked (batch, heads, rows, distances), answered (batch, heads, distances, keys).
    """
    asked, answered = pairs.of_rows(asked, query), answered[..., : key.numel()]
    past, future = asked[..., :1], asked[..., -1:]
    past_key, future_key = answered[..., :1, :], answered[..., -1:, :]
    scores, near = (score + past).add_(past_key), answered.shape[-2] - 1
    span = near if pairs.causal else near // 2 + 1
    if not pairs.causal:
        before = ahead(query, key, scores.dtype)
        scores = scores.addcmul_(before, future - past).addcmul_(before, future_key - past_key)
    near_products = less_far(asked[..., :near], past, future, span)
    band, order = Band.of(query, key, span - 1, span - near), torch.arange(near, device=key.device)
    far = torch.where(order < span, 0, near)  # where the key's product of far pairs stands
    near_products.add_(gathered(answered, order + 1, band.keys))
    return band.add_to(scores, near_products.sub_(gathered(answered, far, band.keys)))
