"""A cache with constant shapes, for a decoding step that is compiled once.

A growing cache has another shape at every token, and compiled code is specific to shapes. This
cache has its full size from the start. Future tokens are after the current query on the key axis,
so the causal mask hides them, as in training. Embeddings need no changes.
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
    """A cache of constant size, which a compiled step uses and fills.

    Args:
        cache: the tokens so far, of one sequence.
        capacity: largest number of tokens.

    Raises:
        BadInput: an empty cache, several sequences, or packed documents.
    """

    length = 0  # the actual length is the tensor `index`: an int would be compiled as a constant
    consecutive = True
    documents: Tensor | None = None

    def __init__(self, cache: Cache, capacity: int) -> None:
        positions, keys = cache.positions, cache.layers[0].keys
        if (
            positions is None
            or len(positions) > 1
            or cache.documents is not None
            or keys is None
            or len(keys) > 1
        ):
            raise BadInput(
                "a compiled step continues a cache that has one sequence with one document",
                code="model.fixed-cache-content",
            )
        self.rotated, self.causal = cache.rotated, cache.causal
        self.context_length = cache.context_length
        self.index = torch.tensor([cache.length], device=positions.device)
        steps = torch.arange(1, capacity - cache.length + 1, device=positions.device)
        self.positions = torch.cat((positions, positions[:, -1:] + steps), 1)
        self.layers = [FixedLayerCache(layer, capacity, self.index) for layer in cache.layers]

    def next_positions(self, tokens: Tensor) -> Tensor:
        """Return the position (1, 1) of the new token."""
        return self.positions[:, self.index]

    def extend(self, batch: Batch, positions: Tensor) -> TokenLayout:
        """Return the layout of the new token, with keys for all tokens up to the capacity."""
        return TokenLayout(
            positions,
            self.positions,
            self.index,
            context_length=self.context_length,
            causal=self.causal,
        )


class FixedLayerCache:
    """Keys and values of one layer, and the index of the new token."""

    state = None

    def __init__(self, layer: LayerCache, capacity: int, index: Tensor) -> None:
        self.rotated, self.index = layer.rotated, index
        padding = (0, 0, 0, capacity - layer.length)
        assert layer.keys is not None and layer.values is not None  # the cache is not empty
        self.keys, self.values = (
            F.pad(buffer[:, :, : layer.length], padding) for buffer in (layer.keys, layer.values)
        )

    def append(self, keys: Tensor, values: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        """Store the new token's key and value, and return those of all tokens."""
        self.keys[:, :, self.index] = keys
        self.values[:, :, self.index] = values
        return self.keys, self.values, state
