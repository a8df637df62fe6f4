"""Distances of query-key pairs, and the lookup of one number per pair by distance.

Shaw's embedding and DeBERTa's multiply each query by one vector per distance, which is linear
in the length; then each pair needs the product of its own distance. Where positions are
consecutive, all far pairs of a query share one product, and only a band of near pairs differs:

          key 0  1  2  3  4      clip 2, causal
    query 0   n                  n  near: the product of its own distance, 0 or 1
          1   n  n               f  far: all share the product of distance 2
          2   f  n  n
          3   f  f  n  n         1. add the product of far pairs along whole rows
          4   f  f  f  n  n      2. add near minus far to the band, with a narrow scatter

Otherwise one gather looks up all pairs. Its backward pass adds one number at a time, which is
slow. Measured on one core, float32, 8 sequences of 1024 tokens, 6 heads of 64, forward and
backward: attention with a score function takes 700 ms; Shaw's embedding adds 50 ms with the
band and 300 ms with the gather.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .layout import TokenLayout


class Pairs(NamedTuple):
    """The positions of a forward pass, and which row of the queries is at which index.

    Args:
        positions: (batch or 1, key), the position at each index.
        rows: (key,) int64, the row of the queries at each index; 0 where there is no query.
        consecutive: for pairs that may attend to each other, the difference of positions is
            the difference of indices.
        causal: whether queries attend only to keys at or before their own index.
    """

    positions: Tensor
    rows: Tensor
    consecutive: bool
    causal: bool

    @classmethod
    def of(cls, layout: TokenLayout) -> Pairs:
        """Return the pairs of one forward pass."""
        positions, indices = layout.key_positions, layout.query_indices
        rows = torch.zeros(positions.shape[1], dtype=torch.int64, device=indices.device)
        rows = rows.scatter(0, indices, torch.arange(indices.shape[0], device=indices.device))
        return cls(positions, rows, layout.consecutive, layout.causal)

    def distance(self, batch: Tensor, query: Tensor, key: Tensor) -> Tensor:
        """Return query position minus key position, int64; fractions are rounded.

        Shapes: the broadcast shape of the indices, with a batch axis only where the sequences
        have different positions.
        """
        if self.positions.shape[0] == 1:
            distance = self.positions[0, query] - self.positions[0, key]
        else:
            distance = self.positions[batch, query] - self.positions[batch, key]
        return distance.round().long() if distance.is_floating_point() else distance.long()

    def of_sequences(self, sequences: slice) -> Pairs:
        """Return the pairs of some sequences of the batch; positions that all share are kept."""
        shared = self.positions.shape[0] == 1
        return self if shared else self._replace(positions=self.positions[sequences])

    def of_rows(self, table: Tensor, query: Tensor) -> Tensor:
        """Return the rows of a table (batch, heads, rows, ...) that belong to these queries."""
        if query.numel() == table.shape[2]:
            return table
        return table[:, :, self.rows[query.flatten()]]


def look_up(table: Tensor, batch: Tensor, head: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Return table[batch, head, row, column], the indices broadcast, in new memory.

    Args:
        table: (batch, heads, rows, columns).
        batch, head: on a grid, all batch and head indices in order.
        row, column: int64; on a grid their broadcast shape is (batch or 1, 1, query, key) or
            (query, key).
    """
    if max(row.dim(), column.dim()) < 2:  # single pairs, as a fused kernel passes them
        return table[batch, head, row, column]
    return look_up_grid(table, row, column)


def look_up_grid(table: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Return table[:, :, row, column] for grids of rows and columns, in new memory."""
    cell = row * table.shape[-1] + column
    flat = cell.flatten(-2).expand(*table.shape[:2], -1)
    return table.flatten(-2).gather(-1, flat).unflatten(-1, cell.shape[-2:])


class Band(NamedTuple):
    """The keys at a range of distances from each query, the largest distance first.

    Args:
        keys: (query, distances) int64, indices of keys; arbitrary where `outside`.
        outside: (query, distances) bool, no key exists at this distance.
    """

    keys: Tensor
    outside: Tensor

    @classmethod
    def of(cls, query: Tensor, key: Tensor, most: int, least: int) -> Band:
        """Return the keys at distances `most` down to `least` from queries (query, 1)."""
        distances = torch.arange(most, least - 1, -1, device=query.device)
        keys = query.flatten()[:, None] - distances
        last = key.numel() - 1
        return cls(keys.clamp(0, last), (keys < 0) | (keys > last))

    def add_to(self, scores: Tensor, near: Tensor) -> Tensor:
        """Add numbers to the scores of these keys, in place, and return the scores.

        Shapes: scores (batch, heads, query, key), near (batch, heads, query, distances).
        """
        near = near.masked_fill(self.outside, 0.0)
        return scores.scatter_add_(-1, self.keys.expand(near.shape), near)

    def gather_from(self, weights: Tensor) -> Tensor:
        """Return the weights of these keys, 0 where no key exists.

        Shapes: weights (batch, heads, query, key); the result (batch, heads, query, distances).
        """
        keys = self.keys.expand(*weights.shape[:2], -1, -1)
        return weights.gather(-1, keys).masked_fill(self.outside, 0.0)


def is_future(query: Tensor, key: Tensor, dtype: torch.dtype) -> Tensor:
    """Return 1 where the key's index is after the query's, else 0, (query, key)."""
    return (query < key).to(dtype)


def minus_far(near: Tensor, past: Tensor, future: Tensor, behind: int, axis: int = -1) -> Tensor:
    """Return numbers by distance, minus the number of far keys on the same side.

    Args:
        near: the largest distance first along `axis`; the first `behind` distances are 0 or
            more, the others negative.
        past, future: the numbers of far keys on either side; of size one along `axis`.
    """
    back, front = near.split((behind, near.shape[axis] - behind), axis)
    return torch.cat((back - past, front - future), axis)
