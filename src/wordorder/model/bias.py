"""A bias that depends on distance alone, evaluated once for each distance.

Where positions are consecutive, every row of the bias matrix is a window of one list, the bias by
distance, so the matrix is never stored: 16,384 tokens need 32,767 numbers per head, not 268
million.

    4 queries, 4 keys; the list has the bias of distances 3 2 1 0 -1 -2 -3, and row i begins at
    index 3 - i:

        row 0:        0 -1 -2 -3        (distances of query 0 to keys 0, 1, 2, 3)
        row 1:      1 0 -1 -2
        row 2:    2 1 0 -1
        row 3:  3 2 1 0
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..positions import Sum, TokenLayout
from .mask import EVERYTHING


class AttentionBias:
    """The bias by distance of the layers that share an embedding, in one forward pass.

    Args:
        position: the layers' embedding, which has a bias by distance.
        layout: positions of queries and keys.

    Attributes:
        by_distance: (heads, distances) float32, the largest distance first; None if positions are
            not consecutive, so that the bias is evaluated for every pair.
        distances: (distances,) int64, or None.
    """

    def __init__(self, position: Sum, layout: TokenLayout) -> None:
        self.position, self.layout = position, layout
        self.queries, self.keys = layout.query_indices.shape[0], layout.key_positions.shape[1]
        self.by_distance: Tensor | None = None
        self.distances: Tensor | None = None
        if layout.consecutive and (layout.self_attention or layout.trailing):
            device = layout.key_positions.device
            # The pair of query i and key j has index queries - 1 - i + j.
            indices = torch.arange(self.queries + self.keys - 1, device=device)
            self.distances = layout.query_indices[-1] - indices
            self.by_distance = position.distance_bias(self.distances)

    @property
    def trained(self) -> bool:
        """Whether the bias has parameters that need a gradient."""
        return torch.is_grad_enabled() and self.position.trains_bias

    def of(
        self,
        rows: slice | None = None,
        keys: slice | None = None,
        sequences: slice | None = None,
    ) -> Tensor:
        """Return the bias (sequences or 1, heads, rows, keys) float32, with gradient.

        Args:
            rows, keys, sequences: the piece to return; None: all. `keys` starts at the first key.
        """
        rows, keys = rows or EVERYTHING, keys or EVERYTHING
        if self.by_distance is None:
            layout = self.layout if sequences is None else self.layout.of_sequences(sequences)
            queries = layout.query_positions[:, rows, None]
            distances = queries - layout.key_positions[:, None, keys]
            return self.position.total_bias(distances).transpose(0, 1)
        return self.windows(self.by_distance, rows, keys)

    def windows(self, by_distance: Tensor, rows: slice, keys: slice) -> Tensor:
        """Return a piece of the matrix (1, heads, rows, keys) from a list by distance."""
        part, width = self.span(rows, keys)
        # (heads, rows, keys); the window at the lowest index belongs to the last row.
        return by_distance[:, part].unfold(-1, width, 1).flip(1)[None]

    def span(self, rows: slice, keys: slice) -> tuple[slice, int]:
        """Return the slice of the list that some rows need, and their number of keys."""
        start, stop, _ = rows.indices(self.queries)
        width = keys.indices(self.keys)[1]
        return slice(self.queries - stop, self.queries - 1 - start + width), width


def diagonal_sums(matrices: Tensor) -> Tensor:
    """Return the gradient of a list by distance from the gradient of its matrix.

    Shapes: (heads, rows, keys) -> (heads, rows + keys - 1). Every entry of the list fills a
    diagonal of the matrix, so its gradient is the diagonal's sum. With the rows in reverse order,
    each shifted by one against the row above, diagonals are columns (the numbers are distances):

        row 2:  2  1  0              2  1  0  .  .
        row 1:  1  0 -1      ->      .  1  0 -1  .
        row 0:  0 -1 -2              .  .  0 -1 -2
    """
    heads, rows, keys = matrices.shape
    skewed = torch.nn.functional.pad(matrices.flip(1), (0, rows)).flatten(1)
    return skewed[:, : rows * (keys + rows - 1)].view(heads, rows, -1).sum(1)
