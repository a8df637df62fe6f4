"""What is added to the scores before the softmax: masks and biases, made a piece at a time.

A matrix of scores has a row for every query and a column for every key; a bias by distance
has only as many values as there are distances. So where positions are consecutive each
distance is evaluated once, and a piece of the matrix is a window that slides over that
list: 16,384 tokens need 32,767 values a head, not 268 million.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..positions import Geometry, Sum

# Pieces of one forward pass are kept for its other layers up to this many numbers.
MOST_KEPT = 1 << 24
EVERYTHING = slice(None)


class Bias:
    """The mask and the bias of distances of one kind of layer, in one forward pass.

    Args:
        position: what acts in the layer.
        geometry: where queries and keys stand.
        window: the layer's sliding window, or None.
        dtype: of the activations; a mask alone takes it, a bias is float32, because
            bfloat16 is too coarse for distances.

    Attributes:
        by_distance: (heads, distances) float32, farthest ahead last; None where there is
            no bias of distances or positions are not consecutive.
        plainly_causal: the causal mask is all there is to hide.
        past_only: no row sees a key past its own slot, which is its own index.
    """

    def __init__(
        self, position: Sum, geometry: Geometry, window: int | None, dtype: torch.dtype
    ) -> None:
        self.position, self.geometry, self.window, self.dtype = position, geometry, window, dtype
        self.queries, self.keys = len(geometry.query_slots), geometry.key_positions.shape[1]
        self.biased = position.has_distance_bias
        self.hides = geometry.hides(window)
        self.past_only = geometry.causal and geometry.whole
        narrow = window is not None and window < self.keys
        self.plainly_causal = self.past_only and geometry.key_documents is None and not narrow
        self.by_distance: Tensor | None = None
        self.past_by_distance: Tensor | None = None  # with the mask in it, if that is causal alone
        if self.biased and geometry.consecutive and (geometry.whole or geometry.trailing):
            device = geometry.key_positions.device
            # Row i of Q and key j are `index` Q-1-i+j in the list: j's distance falls by one.
            indices = torch.arange(self.queries + self.keys - 1, device=device)
            distances = geometry.query_slots[-1] - indices
            self.by_distance = position.distance_bias(distances)
            if self.plainly_causal:
                self.past_by_distance = self.by_distance.masked_fill(distances < 0, float("-inf"))
        self.kept: dict[tuple, Any] = {}

    @property
    def trained(self) -> bool:
        """Whether the bias of distances has a slope to carry back."""
        return self.biased and torch.is_grad_enabled() and self.position.trains_bias

    @property
    def trained_pairs(self) -> bool:
        """Whether it has one that no list of distances can take."""
        return self.trained and self.by_distance is None

    @property
    def rising(self) -> bool:
        """Whether every key that a causal row sees is known to stand at no later position."""
        if self.geometry.consecutive or torch.compiler.is_compiling():
            return self.geometry.consecutive
        if ("rising",) not in self.kept:
            self.kept[("rising",)] = bool((self.geometry.key_positions.diff(dim=1) >= 0).all())
        return self.kept[("rising",)]

    def bias(
        self, rows: slice = EVERYTHING, seen: slice = EVERYTHING, sequences: slice = EVERYTHING
    ) -> Tensor | None:
        """Return the bias of some rows, (sequences or 1, heads, rows, seen) float32, or None.

        Autograd follows it. `seen` starts at the first key.
        """
        if not self.biased:
            return None
        if self.by_distance is None:
            geometry = self.geometry.of_sequences(sequences)
            queries = geometry.query_positions[:, rows, None]
            distances = queries - geometry.key_positions[:, None, seen]
            return self.position.distance_bias(distances).transpose(0, 1)
        return self.windows(self.by_distance, rows, seen)

    def windows(self, by_distance: Tensor, rows: slice, seen: slice) -> Tensor:
        """Return the rows (1, heads, rows, seen) that a list of distances spells."""
        part, width = self.span(rows, seen)
        return by_distance[:, part].unfold(-1, width, 1).flip(1)[None]  # last row first

    def span(self, rows: slice, seen: slice) -> tuple[slice, int]:
        """Return the part of the list that some rows need, and how many keys they see."""
        start, stop, _ = rows.indices(self.queries)
        width = seen.indices(self.keys)[1]
        return slice(self.queries - stop, self.queries - 1 - start + width), width

    def seen(self, rows: slice) -> slice:
        """Return the keys, from the first, that these rows may see any of."""
        geometry = self.geometry
        if not (geometry.causal and geometry.trailing):
            return EVERYTHING
        return slice(0, self.keys - self.queries + rows.indices(self.queries)[1])

    def visible(self, rows: slice = EVERYTHING, seen: slice = EVERYTHING) -> Tensor:
        """Return which keys these rows may attend to, (batch or 1, 1, rows, seen) bool."""
        return self.geometry.visible(self.window, rows, seen)

    def piece(self, sequences: slice, rows: slice, seen: slice) -> Tensor | None:
        """Return what is added to a piece of the scores, minus infinity where hidden.

        Shape: (sequences or 1, heads or 1, rows, seen). Without slopes to carry back.
        """
        if not self.biased and not self.hides:
            return None
        shared = self.geometry.key_positions.shape[0] == 1 and self.geometry.key_documents is None
        name = (None if shared else sequences.start, rows.start, rows.stop, seen.stop)
        if name not in self.kept:
            with torch.no_grad():
                made = self._masked(sequences, rows, seen)
            if made.numel() * self.queries * self.keys > MOST_KEPT * made.shape[2] * made.shape[3]:
                return made
            self.kept[name] = made
        return self.kept[name]

    def _masked(self, sequences: slice, rows: slice, seen: slice) -> Tensor:
        if self.past_by_distance is not None:
            return self.windows(self.past_by_distance, rows, seen)
        bias = self.bias(rows, seen, sequences)
        if not self.hides:
            return bias
        hidden = ~self.geometry.of_sequences(sequences).visible(self.window, rows, seen)
        if bias is None:
            bias = torch.zeros((), device=hidden.device, dtype=self.dtype)
        return bias.masked_fill(hidden, float("-inf"))

    def whole(self) -> Tensor | None:
        """Return everything at once, as `piece`, with slopes to carry back."""
        if not self.biased and not self.hides:
            return None
        return self._masked(EVERYTHING, EVERYTHING, EVERYTHING)


def diagonal_sums(matrices: Tensor) -> Tensor:
    """Return the sums that `Bias.windows` carries back: (heads, rows, seen) -> (heads, list).

    Row i goes into the list at rows-1-i: flipped and skewed by one a row, columns are sums.
    """
    heads, rows, seen = matrices.shape
    skewed = torch.nn.functional.pad(matrices.flip(1), (0, rows)).flatten(1)
    return skewed[:, : rows * (seen + rows - 1)].view(heads, rows, -1).sum(1)
