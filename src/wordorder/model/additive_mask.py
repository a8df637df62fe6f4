"""The sum of a bias and a mask, which is added to the scores before the softmax.

The mask is 0 or minus infinity. Layers that share an embedding and a window share one
`AdditiveMask`, and the pieces of it that are already computed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..positions import Sum, TokenLayout
from .bias import AttentionBias
from .mask import EVERYTHING, AttentionMask

# Keep pieces for other layers only if all of them together have at most this many elements.
MOST_KEPT = 1 << 24


class AdditiveMask:
    """The sum of a mask and a bias, in pieces that layers share.

    Args:
        mask: which keys each query may attend to.
        bias: the bias by distance, or None.
        dtype: dtype of a mask without a bias. With a bias the result is float32, because bfloat16
            rounds different distances to the same value.
    """

    def __init__(self, mask: AttentionMask, bias: AttentionBias | None, dtype: torch.dtype) -> None:
        self.mask, self.bias, self.dtype = mask, bias, dtype
        self.empty = bias is None and not mask.needed
        self.memo: dict[tuple[Any, ...], Any] = {}
        # The bias by distance with the causal mask applied, if no other mask is needed: future
        # keys have negative distances.
        self.past_by_distance: Tensor | None = None
        if bias is not None and mask.causal_only:
            numbers, distances = bias.by_distance, bias.distances
            if numbers is not None and distances is not None:
                self.past_by_distance = numbers.masked_fill(distances < 0, float("-inf"))

    @classmethod
    def of(
        cls, position: Sum, layout: TokenLayout, window: int | None, dtype: torch.dtype
    ) -> AdditiveMask:
        """Return the additive mask of the layers with this embedding and window."""
        bias = AttentionBias(position, layout) if position.biased else None
        return cls(AttentionMask(layout, window), bias, dtype)

    @property
    def rising(self) -> bool:
        """Whether no causal query attends to a key at a later position.

        While compiling, False if the layout's `consecutive` does not say so.
        """
        layout = self.mask.layout
        if layout.consecutive or torch.compiler.is_compiling():
            return layout.consecutive
        if ("rising",) not in self.memo:
            self.memo[("rising",)] = bool((layout.key_positions.diff(dim=1) >= 0).all())
        return self.memo[("rising",)]

    def piece(self, sequences: slice, rows: slice, keys: slice) -> Tensor | None:
        """Return a piece (sequences or 1, heads or 1, rows, keys) without gradient, or None."""
        if self.empty:
            return None
        shared = self.mask.layout.shared_rows
        name = (None if shared else sequences.start, rows.start, rows.stop, keys.stop)
        if name not in self.memo:
            with torch.no_grad():
                piece = self._piece(sequences, rows, keys)
            # The size of all pieces together: numel / (rows * keys) * queries * all keys.
            numbers = self.mask.queries * self.mask.keys
            if piece.numel() * numbers > MOST_KEPT * piece.shape[2] * piece.shape[3]:
                return piece
            self.memo[name] = piece
        return self.memo[name]

    def whole(self) -> Tensor | None:
        """Return all of it, (batch or 1, heads or 1, query, key), with gradient, or None."""
        return None if self.empty else self._piece(None, EVERYTHING, EVERYTHING)

    def _piece(self, sequences: slice | None, rows: slice, keys: slice) -> Tensor:
        if self.bias is not None and self.past_by_distance is not None:
            return self.bias.windows(self.past_by_distance, rows, keys)
        if self.bias is None:
            hidden = ~self.mask.may_attend(rows, keys, sequences)
            zero = torch.zeros((), device=hidden.device, dtype=self.dtype)
            return zero.masked_fill(hidden, float("-inf"))
        bias = self.bias.of(rows, keys, sequences)
        if not self.mask.needed:
            return bias
        return bias.masked_fill(~self.mask.may_attend(rows, keys, sequences), float("-inf"))
