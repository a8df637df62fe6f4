"""Caches of keys, values and embedding states of the tokens that a model has processed.

`KVCache` is the protocol that a transformer uses; `model.new_cache()` returns a cache.

`Cache` is the transformer's. It keeps raw keys, with their positions and each embedding's state,
and attention transforms them whenever it reads them. So scaling that depends on the length, and
eviction, are right by construction. If every embedding declares a static rotation, the cache keeps
rotated keys instead, which is faster; positions must not change afterwards, so such a cache cannot
evict.

Latent attention caches its rotary key in place of keys, and its latent in place of values; both
have a single head.

With eviction a sequence of any length fits in a bounded cache: only the first and the last tokens
are kept, at consecutive positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ..batch import Batch
from ..errors import BadInput
from ..positions import Composed, TokenLayout


class LayerKVCache(Protocol):
    """The cache of one layer of a transformer.

    Attributes:
        rotated: keys are stored transformed by the embedding.
        state: the embedding's state of earlier tokens, or None.
    """

    rotated: bool
    state: Any

    def append(self, keys: Tensor, values: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        """Append new tokens, and return the keys, values and state of all tokens."""


class KVCache(Protocol):
    """The cache of a transformer.

    Attributes:
        length: number of cached tokens.
        rotated: keys are stored transformed by the embedding.
        consecutive: positions so far increase by one in each document.
        documents: the document of each cached token (batch, length); None: all are of one.
        context_length: the length that length-dependent scaling uses.
        layers: the cache of each layer.
    """

    length: int
    rotated: bool
    consecutive: bool
    documents: Tensor | None
    context_length: int

    @property
    def layers(self) -> Sequence[LayerKVCache]: ...

    def next_positions(self, tokens: Tensor) -> Tensor:
        """Return positions (batch or 1, time) for new tokens, continuing the last position."""

    def extend(self, batch: Batch, positions: Tensor) -> TokenLayout:
        """Record positions and documents of new tokens, and return the layout with all tokens.

        Args:
            positions: those of the batch, or from `next_positions`.
        """


class LayerCache:
    """Keys, values and state of one layer, in buffers that grow by doubling."""

    def __init__(self, rotated: bool) -> None:
        self.rotated = rotated
        self.length = 0
        self.keys: Tensor | None = None
        self.values: Tensor | None = None
        self.state: Any = None

    def append(self, keys: Tensor, values: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        """Append new tokens, and return the keys, values and state of all tokens."""
        end = self.length + keys.shape[2]
        self.keys = _with_capacity(self.keys, keys, end)
        self.values = _with_capacity(self.values, values, end)
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.state = _joined(self.state, state)
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end], self.state

    def evict(self, sinks: int, window: int) -> None:
        """Keep only the first `sinks` and the last `window` tokens, and free unused memory."""
        if self.keys is None or self.values is None:
            return
        self.keys, self.values = (
            _without_middle(buffer, sinks, slice(self.length - window, self.length))
            for buffer in (self.keys, self.values)
        )
        self.state = _first_and_last(self.state, sinks, window)
        self.length = sinks + window

    def select(self, sequences: Tensor) -> None:
        """Replace the sequences of the batch by some of them, (sequences,) int64."""
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys[sequences], self.values[sequences]
        self.state = _selected(self.state, sequences)


class Cache:
    """The keys, values, states and positions of a transformer's earlier tokens.

    Args:
        position: the model's embeddings.
        spec: their spec, for messages.
        causal: whether the model is causal.
        rotated: store rotated keys; None: if every embedding has a static rotation.
        context_length: the length that length-dependent scaling uses; 0: the trained length. It
            is fixed here, and never derived from the number of tokens so far.

    Raises:
        BadInput: rotated keys, with an embedding whose rotation is not static.
    """

    def __init__(
        self,
        position: Composed,
        spec: str,
        causal: bool,
        *,
        rotated: bool | None = None,
        context_length: int = 0,
    ) -> None:
        static = all(layer.static_rotation for layer in position.sums)
        if rotated and not static:
            raise BadInput(
                f"--position {spec} rotates keys differently as the context grows, so a cache "
                "cannot store rotated keys: leave out rotated=True",
                code="model.rotation-not-static",
            )
        self.spec, self.causal = spec, causal
        self.rotated = static if rotated is None else rotated
        self.context_length = context_length or position.shape.trained_length
        self.at_the_input = "input" in position.active_doors()
        self.layers = [LayerCache(self.rotated) for _ in position.sums]
        self.length = 0
        self.consecutive = True
        self.positions: Tensor | None = None
        self.documents: Tensor | None = None

    def next_positions(self, tokens: Tensor) -> Tensor:
        """Return positions (batch or 1, time) for new tokens, continuing the last position.

        The number of cached tokens would be wrong with padding on the left or with gaps.
        """
        steps = torch.arange(tokens.shape[1], device=tokens.device)[None]
        return steps if self.positions is None else self.positions[:, -1:] + 1 + steps

    def extend(self, batch: Batch, positions: Tensor) -> TokenLayout:
        """Record positions and documents of new tokens, and return the layout with all tokens."""
        first, before = self.length, self.positions
        time, documents = batch.tokens.shape[1], batch.documents
        self.length = first + time
        if before is not None and documents is None and self.documents is not None:
            documents = self.documents[:, -1:].expand(-1, time)
        elif before is not None and documents is not None and self.documents is None:
            self.documents = documents.new_zeros(len(documents), first)  # None was document 0
        self.consecutive &= batch.positions is None or batch.consecutive
        self.positions = _joined_rows(before, positions)
        self.documents = _joined(self.documents, documents)
        return TokenLayout(
            positions,
            self.positions,
            torch.arange(first, self.length, device=positions.device),
            documents,
            self.documents,
            self.context_length,
            self.causal,
            self.consecutive,
            trailing=True,
            self_attention=before is None,
        )

    def evict(self, sinks: int, window: int) -> None:
        """Keep only the first `sinks` and the last `window` tokens, at new positions 0, 1, 2, ...

            sinks 2, window 3
            positions before     0  1  2  3  4  5  6      next: 7
            kept                 0  1        4  5  6
            positions after      0  1        2  3  4      next: 5

        Positions restart in each document. No distance exceeds the size of the cache. Dropped
        tokens keep their influence on the cached keys and values of higher layers, and on states
        that are sums over the sequence.

        Args:
            sinks: tokens kept at the start. They collect attention whatever their content
                (attention sinks); the paper keeps four.
            window: tokens kept at the end.

        Raises:
            BadInput: negative sinks or no window; rotated keys; embeddings that act at the input,
                whose positions are part of the keys; grid positions; sinks that are padding.

        Source: Xiao et al. 2024 (StreamingLLM), section 3.2.
        """
        self._check_evictable(sinks, window)
        if self.positions is None or self.length <= sinks + window:
            return
        for layer in self.layers:
            layer.evict(sinks, window)
        self.length = sinks + window
        self.documents = _first_and_last(self.documents, sinks, window)
        if self.documents is None:
            steps = torch.arange(self.length, device=self.positions.device)
            self.positions = steps[None]
        else:
            same = self.documents[:, :, None] == self.documents[:, None, :]
            self.positions = same.tril().sum(-1) - 1
        self.consecutive = self.documents is None

    def select(self, sequences: Tensor) -> None:
        """Replace the sequences of the batch by some of them, as beam search does.

        Shapes: sequences (sequences,) int64, indices into the batch, which may repeat.
        """
        for layer in self.layers:
            layer.select(sequences)
        if self.positions is not None and len(self.positions) > 1:
            self.positions = self.positions[sequences]
        self.documents = _selected(self.documents, sequences)

    def _check_evictable(self, sinks: int, window: int) -> None:
        if sinks < 0 or window < 1:
            raise BadInput(
                f"cannot evict to {sinks} sinks and a window of {window} tokens: sinks must be 0 "
                "or more, and the window 1 or more",
                code="model.evict-sizes",
            )
        if self.at_the_input:
            raise BadInput(
                f"--position {self.spec} adds positions to the word embeddings, so the positions "
                "of cached keys cannot change: use an embedding that acts in attention, such as "
                "rotary",
                code="model.evict-input-embedding",
            )
        if self.rotated:
            raise BadInput(
                "the positions of cached rotated keys cannot change: create the cache with "
                "rotated=False",
                code="model.evict-rotated-keys",
            )
        if self.positions is not None and self.positions.dim() > 2:
            raise BadInput(
                "a cache with grid positions cannot evict tokens, because the rest would have no "
                "consecutive positions: leave out the window",
                code="model.evict-grid",
            )
        if self.documents is not None and bool((self.documents[:, :sinks] < 0).any()):
            raise BadInput(
                f"the first {sinks} cached tokens, which would be kept as sinks, include padding: "
                "leave out the padding",
                code="model.evict-padding",
            )


def _with_capacity(buffer: Tensor | None, new: Tensor, end: int) -> Tensor:
    """Return a buffer (batch, heads, at least `end`, head_dim) with the old buffer's content."""
    if buffer is not None and buffer.shape[2] >= end:
        return buffer
    batch, heads, _, head_dim = new.shape
    larger = new.new_empty(batch, heads, max(64, 2 * end), head_dim)
    if buffer is not None:
        larger[:, :, : buffer.shape[2]] = buffer
    return larger


def _joined_rows(before: Tensor | None, new: Tensor) -> Tensor:
    """Return positions of old and new tokens; a single row applies to all sequences."""
    if before is None:
        return new
    rows = max(len(before), len(new))
    return torch.cat(
        [p if len(p) == rows else p.expand(rows, *p.shape[1:]) for p in (before, new)], 1
    )


def _joined(before: Any, new: Any) -> Any:
    """Return the state of old and new tokens, each tensor joined along its time axis, 1."""
    if new is None or before is None:
        return new
    if isinstance(new, tuple):
        return tuple(_joined(b, n) for b, n in zip(before, new, strict=True))
    return torch.cat((before, new), dim=1)


def _without_middle(buffer: Tensor, first: int, last: slice) -> Tensor:
    """Return a buffer with the `last` tokens moved to directly after the `first` ones."""
    end = first + last.stop - last.start
    buffer[:, :, first:end] = buffer[:, :, last].clone()  # source and target may overlap
    # After a long sequence processed at once, the buffer is larger than it will ever need to be.
    most = 4 * max(64, end)
    return buffer if buffer.shape[2] <= most else buffer[:, :, : most // 2].clone()


def _first_and_last(state: Any, first: int, last: int) -> Any:
    """Return the state of the first and the last tokens; time is axis 1 of every tensor."""
    if state is None:
        return None
    if isinstance(state, tuple):
        return tuple(_first_and_last(part, first, last) for part in state)
    return torch.cat((state[:, :first], state[:, state.shape[1] - last :]), 1)


def _selected(state: Any, sequences: Tensor) -> Any:
    """Return the state of some sequences; they are axis 0 of every tensor."""
    if state is None:
        return None
    if isinstance(state, tuple):
        return tuple(_selected(part, sequences) for part in state)
    return state[sequences]
