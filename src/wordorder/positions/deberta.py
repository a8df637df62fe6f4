"""DeBERTa's disentangled attention: content-to-position and position-to-content scores.

A score has three terms: query content with key content, query content with the distance,
and key content with the distance seen from the key. The vectors of distances are two
projections, one for queries and one for keys, of one trained table. Three terms have three
times the variance of one, so scores are divided by sqrt(3 * head_dim).

No vector is computed per pair of tokens. Queries are multiplied by the vectors of all
distances at once, and so are keys, which is linear in the length; then the two products of
each pair are looked up:

    causal, span 3                      seen from the query      seen from the key
    distance i - j                       2   1   0                3   2   1   0
    index in the products                0   1   2  (column)      0   1   2   3  (row)
    distances beyond it                  share column 0           share row 0

The two differ by one because the paper clips distances to -span ... span - 1: the farthest
past is span - 1 from the query, and -span from the key.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from . import defaults
from .base import Position, PositionError, Score, State, upcast
from .layout import TokenLayout
from .pairs import Band, Pairs, is_future, look_up, look_up_grid, minus_far
from .shape import ModelShape


class VisiblePairs(NamedTuple):
    """The pairs of a forward pass, and the smallest distance (query minus key) among them."""

    pairs: Pairs
    least: int


class Deberta(Position):
    """Adds products of queries and of keys with projected vectors of their clipped distance.

    Every layer has its own table and its own two projections. The projections multiply the
    table, not hidden states, so AdamW trains all three (Muon on the projections was 0.02 nats
    worse). In a causal model at consecutive positions, the key projection is applied only to
    rows d >= 0 of the table, the query projection only to rows d <= 0. Fractional distances are
    rounded to the nearest integer.

    Args:
        span: distances of at least this, in either direction, share a vector; 0: a quarter of
            the trained length, at most 128. The paper uses 512, the length of its sequences.
            With a span as long as the sequences, longer sequences use vectors that were never
            trained; and the table, which is projected in every forward pass, is large
            compared with a small model.

    Raises:
        PositionError: a negative span.

    Source: He et al. 2020, section 3.1, equations 3 and 4:
    A(i, j) = q_i · k_j + q_i · K[δ(i, j)] + k_j · Q[δ(j, i)], K = P W_k, Q = P W_q,
    δ(i, j) = clip(i - j, -span, span - 1) + span, and scores are A / sqrt(3 head_dim).
    Not here: one table for all layers; projections shared with the content and logarithmic
    buckets of distances (DeBERTa v2 and v3); absolute positions before the output layer.
    """

    summary = "Queries and keys are each multiplied by a projected vector of their distance."
    source = "He et al. 2020, section 3.1, equations 3 and 4"
    formula = (
        "score(i, j) = (q_i · k_j + q_i · K[δ(i, j)] + k_j · Q[δ(j, i)]) / √(3 head_dim)\n"
        "δ(i, j) = clip(i − j, −span, span − 1) + span; K = P W_k, Q = P W_q"
    )
    traps = (
        "Three terms: scores are divided by √(3 head_dim), not by √head_dim.",
        "The key's term uses the distance seen from the key, δ(j, i), not δ(i, j).",
        "The authors' code and Hugging Face Transformers use δ(i, j) there; their checkpoints have "
        "Q mirrored.",
    )
    door = "score"
    reads_vectors = True
    follows = (defaults.Follows("span", defaults.REACH_RULE, 512),)

    def __init__(self, shape: ModelShape, /, *, span: int = 0) -> None:
        super().__init__(shape)
        if span < 0:
            raise PositionError(
                f"deberta: span={span} must be positive, or 0 to scale it with the trained "
                "length; the paper uses 512",
                code="positions.deberta-span",
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

    def prepare(self, layout: TokenLayout) -> VisiblePairs:
        past_only = layout.causal and layout.consecutive
        return VisiblePairs(Pairs.of(layout), 0 if past_only else -self.resolved_span)

    def score(self, queries: Tensor, keys: Tensor, tables: VisiblePairs, state: State) -> Score:
        pairs, least = tables
        span, most = self.resolved_span, self.resolved_span - 1
        queries, keys = upcast(queries) * self.softmax_scale, upcast(keys) * self.softmax_scale
        table = self.table.to(queries.dtype)  # (2 * span, width), row d + span for distance d
        # Only distances (query minus key) that occur, the largest first. Seen from the query they
        # are `most`, the largest with its own vector, to `least`, which is 0 if there is no future
        # and else -span; seen from the key, `span` to `nearest`, which is 0 if there is no future
        # and else -most.
        nearest = max(least, -most)
        key_vectors = self.key_weight.to(table.dtype) @ table[span + least :].flip(0).mT
        query_vectors = table[: span - nearest + 1] @ self.query_weight.to(table.dtype).mT
        # (batch, heads, query, head_dim) @ (heads, head_dim, distances)
        query_products = queries @ key_vectors  # (batch, heads, query, distances)
        # (heads, distances, head_dim) @ (batch, heads, head_dim, key)
        key_products = query_vectors @ keys.mT  # (batch, heads, distances, key)

        def disentangled(
            score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor
        ) -> Tensor:
            if pairs.consecutive and query.dim() > 1:
                return _add_consecutive(score, query_products, key_products, pairs, query, key)
            distance = pairs.distance(batch, query, key)
            column = most - distance.clamp(least, most)
            row = span - distance.clamp(nearest, span)
            # `look_up` returns new memory, so adding in place is safe.
            added = look_up(query_products, batch, head, pairs.rows[query], column)
            return added.add_(look_up(key_products, batch, head, row, key)).add_(score)

        return disentangled


def _add_consecutive(
    score: Tensor,
    query_products: Tensor,
    key_products: Tensor,
    pairs: Pairs,
    query: Tensor,
    key: Tensor,
) -> Tensor:
    """Return scores with both products added, where positions are consecutive.

    First every pair gets the two products of far pairs; then the band of near pairs gets the
    difference to its own products (drawn in pairs.py).

    Shapes: score (batch, heads, query, key), query_products (batch, heads, rows, distances),
    key_products (batch, heads, distances, key); query (query, 1) and key (key,) indices.
    """
    query_products = pairs.of_rows(query_products, query)  # (batch, heads, query, distances)
    key_products = key_products[..., : key.numel()]
    # Each (batch, heads, query, 1); in a causal model `future` is distance 0, and is not used.
    past, future = query_products[..., :1], query_products[..., -1:]
    past_key, future_key = key_products[..., :1, :], key_products[..., -1:, :]  # (..., 1, key)
    scores = (score + past).add_(past_key)  # every key as if in the far past
    near = key_products.shape[-2] - 1  # distances in the band
    span = near if pairs.causal else near // 2 + 1
    if not pairs.causal:
        after = is_future(query, key, scores.dtype)  # (query, key)
        scores = scores.addcmul_(after, future - past).addcmul_(after, future_key - past_key)
    band = Band.of(query, key, span - 1, span - near)  # distances span - 1 down to span - near
    difference = minus_far(query_products[..., :near], past, future, span)  # (..., query, near)
    order = torch.arange(near, device=key.device)  # row of each distance, less one
    far_row = torch.where(order < span, 0, near)  # row of far pairs on the same side
    difference.add_(look_up_grid(key_products, order + 1, band.keys))
    return band.add_to(scores, difference.sub_(look_up_grid(key_products, far_row, band.keys)))
