"""A cache whose shapes never change, for a decoding step that is compiled once.

A cache that grows has another shape at every token, and compiled code is made for shapes. Here a
text has room for all its tokens from the start: those to come are behind the token that attends,
and the causal mask hides them, as it does in training. No embedding needs anything of its own.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..batch import Batch
from ..errors import BadInput
from ..positions import TokenLayout
from .cache import Cache, LayerCache


class FixedCache:
    """A cache with room for every token of a text, which a compiled step reads and fills.

    Args:
        cache: what has been read so far, of one text.
        capacity: how many tokens there may be.

    Raises:
        BadInput: several texts, or packed documents.
    """

    length = 0  # how far it has come is a tensor: a number would be a constant in the code
    consecutive = True

    def __init__(self, cache: Cache, capacity: int) -> None:
        if (
            cache.positions is None
            or len(cache.positions) > 1
            or cache.documents is not None
            or len(cache.layers[0].keys) > 1
        ):
            raise BadInput("a compiled step goes on with one text of one document, begun before")
        self.rotated, self.causal = cache.rotated, cache.causal
        self.context_length = cache.context_length
        self.index = torch.tensor([cache.length], device=cache.positions.device)
        to_come = torch.arange(1, capacity - cache.length + 1, device=cache.positions.device)
        self.positions = torch.cat((cache.positions, cache.positions[:, -1:] + to_come), 1)
        self.layers = [FixedLayerCache(layer, capacity, self.index) for layer in cache.layers]

    def next_positions(self, tokens: Tensor) -> Tensor:
        """Return the position (1, 1) of the new token."""
        return self.positions[:, self.index]

    def extend(self, batch: Batch, positions: Tensor) -> TokenLayout:
        """Return where the new token stands among all that are and will be."""
        return TokenLayout(
            positions,
            self.positions,
            self.index,
            context_length=self.context_length,
            causal=self.causal,
        )


class FixedLayerCache:
    """Keys and values of one layer, and the index where the new token's go."""

    state = None

    def __init__(self, layer: LayerCache, capacity: int, index: Tensor) -> None:
        self.rotated, self.index = layer.rotated, index
        to_come = (0, 0, 0, capacity - layer.length)
        self.keys, self.values = (
            F.pad(kept[:, :, : layer.length], to_come) for kept in (layer.keys, layer.values)
        )

    def append(self, keys: Tensor, values: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        """Put in those of the new token and return all."""
        self.keys[:, :, self.index] = keys
        self.values[:, :, self.index] = values
        return self.keys, self.values, state
