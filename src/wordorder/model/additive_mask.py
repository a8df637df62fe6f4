"""What is added to the scores before the softmax: the bias, and minus infinity where masked.

Layers that share an embedding and a window share one `AdditiveMask`, and the pieces that it has
already made.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..positions import Sum, TokenLayout
from .bias import AttentionBias
from .mask import EVERYTHING, AttentionMask

# Pieces of one forward pass are kept for its other layers up to this many numbers.
MOST_KEPT = 1 << 24


class AdditiveMask:
    """The sum of a mask and a bias, in pieces that layers share.

    Args:
        mask: which keys each query may attend to.
        bias: the bias by distance, or None.
        dtype: of the activations, which a mask without bias takes; a bias is float32, because
            bfloat16 is too coarse for distances.
    """

    def __init__(self, mask: AttentionMask, bias: AttentionBias | None, dtype: torch.dtype) -> None:
        self.mask, self.bias, self.dtype = mask, bias, dtype
        self.empty = bias is None and not mask.needed
        self.memo: dict[tuple, Any] = {}
        # The list of distances with the causal mask in it, if that is all there is to mask.
        self.past_by_distance: Tensor | None = None
        if bias is not None and bias.by_distance is not None and mask.causal_only:
            self.past_by_distance = bias.by_distance.masked_fill(bias.distances < 0, float("-inf"))

    @classmethod
    def of(
        cls, position: Sum, layout: TokenLayout, window: int | None, dtype: torch.dtype
    ) -> AdditiveMask:
        """Return what is added to the scores of the layers with an embedding and a window."""
        bias = AttentionBias(position, layout) if position.biased else None
        return cls(AttentionMask(layout, window), bias, dtype)

    @property
    def rising(self) -> bool:
        """Whether no key that a causal query may attend to is at a later position."""
        layout = self.mask.layout
        if layout.consecutive or torch.compiler.is_compiling():
            return layout.consecutive
        if ("rising",) not in self.memo:
            self.memo[("rising",)] = bool((layout.key_positions.diff(dim=1) >= 0).all())
        return self.memo[("rising",)]

    def piece(self, sequences: slice, rows: slice, keys: slice) -> Tensor | None:
        """Return a piece (sequences or 1, heads or 1, rows, keys), without gradient, or None."""
        if self.empty:
            return None
        shared = self.mask.layout.shared_rows
        name = (None if shared else sequences.start, rows.start, rows.stop, keys.stop)
        if name not in self.memo:
            with torch.no_grad():
                piece = self._piece(sequences, rows, keys)
            numbers = self.mask.queries * self.mask.keys  # of all pieces of these sequences
            if piece.numel() * numbers > MOST_KEPT * piece.shape[2] * piece.shape[3]:
                return piece
            self.memo[name] = piece
        return self.memo[name]

    def whole(self) -> Tensor | None:
        """Return everything at once, (batch or 1, heads or 1, query, key); autograd follows."""
        return None if self.empty else self._piece(None, EVERYTHING, EVERYTHING)

    def _piece(self, sequences: slice | None, rows: slice, keys: slice) -> Tensor:
        if self.bias is not None and self.past_by_distance is not None:
            return self.bias.windows(self.past_by_distance, rows, keys)
        bias = None if self.bias is None else self.bias.of(rows, keys, sequences)
        if not self.mask.needed:
            return bias
        hidden = ~self.mask.may_attend(rows, keys, sequences)
        if bias is None:
            bias = torch.zeros((), device=hidden.device, dtype=self.dtype)
        return bias.masked_fill(hidden, float("-inf"))
