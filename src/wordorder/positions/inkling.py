"""Inkling's relative bias: each token chooses how its scores depend on the distance.

A layer has a few profiles, each a number per distance. Every token computes from its hidden
state, for each head, how much of each profile is added to its scores. So one token may look at
its neighbour and the next one at the beginning of a clause, where T5's bias is the same for all.
Distances past the extent get nothing: far tokens are found by content alone.

The products of a query with all distances are one matrix product; each pair then takes that of
its own distance.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .base import Position, PositionError, Score, State, upcast
from .defaults import Follows
from .layout import TokenLayout
from .pairs import Band, Pairs, look_up
from .shape import ModelShape

MOST_EXTENT = 1024  # transformers' default


class QueriedPairs(NamedTuple):
    """The pairs of a forward pass, and the index of each query into the key axis."""

    pairs: Pairs
    query_indices: Tensor


class Inkling(Position):
    """Adds to scores a mixture of trained profiles by distance, which the query's token weighs.

    Args:
        rank: number of profiles, shared by the heads of a layer; at least 1; the model has 16.
        extent: distances from this one on get no bias; 0: a quarter of the trained length, at
            most the model's 1,024. In a bidirectional model there are as many distances ahead.

    Raises:
        PositionError: a rank below 1, or a negative extent.

    Source: Inkling of Thinking Machines, 2026, as in transformers (`inkling`); there is no
    paper. With r_i = W x_i for each head, score(i, j) gains r_i · P[:, i - j] for distances
    from 0 to extent - 1.
    Not here: Inkling's scale of 1/d for normalised queries and keys, its short convolutions,
    and its logarithmic scaling, which `log-temperature` has.
    """

    summary = "Each token mixes trained profiles of the distance into a bias of its own."
    source = "Inkling (Thinking Machines 2026), as in transformers; no paper"
    door = "score"
    matrices = ("weight",)
    formula = (
        "score(i, j) = q_i · k_j / √head_dim + r_i · P[:, i − j]   for 0 ≤ i − j < extent\n"
        "r_i = W x_i, `rank` numbers for each head; P of (rank, extent), one for the layer"
    )
    traps = (
        "The weights of the profiles come from the layer's input, not from the query vector.",
        "Past the extent the bias is 0, not that of the largest distance, as T5's is.",
        "Profiles at distances that training never reaches keep their initial values: an extent "
        "beyond the trained length adds noise to longer sequences.",
        "The bias is not divided by √head_dim.",
    )
    follows = (Follows("extent", "a quarter of the trained length, at most 1,024", MOST_EXTENT),)

    def __init__(self, shape: ModelShape, /, *, rank: int = 16, extent: int = 0) -> None:
        super().__init__(shape)
        if rank < 1:
            raise PositionError(
                f"inkling: rank={rank} must be at least 1; the model has 16",
                code="positions.inkling-rank",
            )
        if extent < 0:
            raise PositionError(
                f"inkling: extent={extent} must be positive, or 0 to scale it with the trained "
                "length; the model has 1024",
                code="positions.inkling-extent",
            )
        self.rank = rank
        self.extent = extent
        self.resolved_extent = extent or max(1, min(MOST_EXTENT, shape.trained_length // 4))
        self.nearest = 0 if shape.causal else 1 - self.resolved_extent  # the least distance
        self.weight = nn.Parameter(torch.empty(shape.heads * rank, shape.width))
        # Column 0 is the largest distance, the last one `nearest`.
        columns = self.resolved_extent - self.nearest
        self.profiles = nn.Parameter(torch.empty(rank, columns))
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw everything from N(0, 0.02), as transformers does."""
        for parameter in (self.weight, self.profiles):
            nn.init.normal_(parameter, std=0.02, generator=generator)

    def resolved_options(self) -> dict[str, int]:
        return {"extent": self.resolved_extent}

    def prepare(self, layout: TokenLayout) -> QueriedPairs:
        return QueriedPairs(Pairs.of(layout), layout.query_indices)

    def state(self, x: Tensor, layout: TokenLayout, previous: State) -> Tensor:
        """Return each token's weights of the profiles, (batch, time, heads, rank)."""
        x = upcast(x)
        return (x @ self.weight.to(x.dtype).mT).unflatten(-1, (self.shape.heads, self.rank))

    def score(self, queries: Tensor, keys: Tensor, tables: QueriedPairs, state: Tensor) -> Score:
        pairs, indices = tables
        of_queries = state[:, indices].transpose(1, 2).to(upcast(queries).dtype)
        products = of_queries @ self.profiles.to(of_queries.dtype)  # (batch, heads, query, columns)
        most, least = self.resolved_extent - 1, self.nearest

        def relative(
            score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor
        ) -> Tensor:
            if pairs.consecutive and query.dim() > 1:
                near = pairs.of_rows(products, query)
                whole = score.to(near.dtype).expand(*near.shape[:3], key.numel()).clone()
                return Band.of(query, key, most, least).add_to(whole, near)
            distance = pairs.distance(batch, query, key)
            column = most - distance.clamp(least, most)
            added = look_up(products, batch, head, pairs.rows[query], column)
            return score + added.where((distance >= least) & (distance <= most), 0.0)

        return relative
