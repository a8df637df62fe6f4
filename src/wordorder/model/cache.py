"""Caches: what a model remembers of the tokens it has read.

`KVCache` is what the model asks of one; `model.new_cache()` makes the right one.

`Cache` is a transformer's. It keeps keys raw, with their positions and each embedding's state,
and attention rotates them on read: so scaling that depends on the length, eviction, and dropping
an embedding are right by construction. Where every embedding declares a static rotation, keys are
kept rotated, the fast path, for as long as positions do not move.

A text may also grow without end in a cache that does not: the first tokens and the last are
kept, and stand in it as if nothing had been between them.
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
    """What one layer of a transformer asks of its cache.

    Attributes:
        rotated: keys are kept with positions worked in.
        state: the embedding's state of the tokens before, or None.
    """

    rotated: bool
    state: Any

    def append(self, keys: Tensor, values: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        """Add those of new tokens and return all keys, values and state."""


class KVCache(Protocol):
    """What a transformer asks of its cache.

    Attributes:
        length: tokens kept.
        rotated: keys are kept with positions worked in.
        consecutive: positions so far step by one inside each document.
        context_length: what length-dependent scaling divides by.
        layers: a cache for each layer.
    """

    length: int
    rotated: bool
    consecutive: bool
    context_length: int
    layers: Sequence[LayerKVCache]

    def next_positions(self, tokens: Tensor) -> Tensor:
        """Return the positions (batch or 1, time) of new tokens that go on from the last one."""

    def extend(self, batch: Batch, positions: Tensor) -> TokenLayout:
        """Keep where new tokens stand, and return their layout among all tokens.

        Args:
            positions: the batch's own, or the next ones.
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
        """Add the new tokens' and return everything so far."""
        end = self.length + keys.shape[2]
        self.keys = _room(self.keys, keys, end)
        self.values = _room(self.values, values, end)
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.state = _joined(self.state, state)
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end], self.state

    def evict(self, sinks: int, window: int) -> None:
        """Keep the first tokens and the last; what a longer text took in memory is given back."""
        if self.keys is None or self.values is None:
            return
        self.keys, self.values = (
            _closed_up(buffer, sinks, slice(self.length - window, self.length))
            for buffer in (self.keys, self.values)
        )
        self.state = _ends(self.state, sinks, window)
        self.length = sinks + window


class Cache:
    """What a transformer remembers of the tokens it has read.

    Args:
        position: the model's embeddings.
        spec: how they are written, for messages.
        causal: whether the model hides the future.
        rotated: keep rotated keys; None: where every embedding's rotation is static.
        context_length: what length-dependent scaling divides by; 0: the trained length.
            Fixed here, never taken from how far the text has come.

    Raises:
        BadInput: rotated keys, where an embedding rotates them anew at every length.
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
            raise BadInput(f"--position {spec} rotates keys anew at every length")
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
        """Return the positions (batch or 1, time) that go on, by one, from the last position.

        Not from the number of tokens kept: with padding on the left, or with gaps, that
        is another number.
        """
        steps = torch.arange(tokens.shape[1], device=tokens.device)[None]
        return steps if self.positions is None else self.positions[:, -1:] + 1 + steps

    def extend(self, batch: Batch, positions: Tensor) -> TokenLayout:
        """Keep where new tokens stand, and return their layout among all tokens."""
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
        """Drop every token but the first `sinks` and the last `window`, and close the gap.

        What is kept stands from then on where it stands in the cache: at 0, 1, 2, ... of its
        document, whatever lay between, and the next token goes on from there. So no distance
        outgrows the cache. What a layer has already worked out of tokens that are dropped
        stays: in the keys and values above it, and in states that are sums over the text.

        Args:
            sinks: tokens kept of the beginning, on which attention rests whatever they say;
                four in the paper.
            window: tokens kept of the end.

        Raises:
            BadInput: no window; keys that are kept rotated; positions that came in at the
                input, and so are in the keys for good, or that are cells of a grid; sinks that
                are padding.

        Source: Xiao et al. 2024 (StreamingLLM), section 3.2.
        """
        self._check_evictable(sinks, window)
        if self.positions is None or self.length <= sinks + window:
            return
        for layer in self.layers:
            layer.evict(sinks, window)
        self.length = sinks + window
        self.documents = _ends(self.documents, sinks, window)
        if self.documents is None:
            steps = torch.arange(self.length, device=self.positions.device)
            self.positions = steps[None]
        else:
            same = self.documents[:, :, None] == self.documents[:, None, :]
            self.positions = same.tril().sum(-1) - 1
        self.consecutive = self.documents is None

    def _check_evictable(self, sinks: int, window: int) -> None:
        padded = self.documents is not None and bool((self.documents[:, :sinks] < 0).any())
        for wrong, said in (
            (
                sinks < 0 or window < 1,
                f"{sinks} sinks and a window of {window}: keep 0 or more and at least 1",
            ),
            (
                self.at_the_input,
                f"--position {self.spec} adds positions to the words, so that they are in every "
                "key and cannot move: use one that acts in attention, such as rotary",
            ),
            (
                self.rotated,
                "keys that are kept rotated cannot move: make the cache with rotated=False",
            ),
            (
                self.positions is not None and self.positions.dim() > 2,
                "cells of a grid have no gap that could be closed: keep all of them",
            ),
            (padded, f"the first {sinks} tokens of a row are padding: read it without any"),
        ):
            if wrong:
                raise BadInput(said)


def _room(buffer: Tensor | None, new: Tensor, end: int) -> Tensor:
    """Return a buffer (batch, heads, at least `end`, head_dim) that holds the old one."""
    if buffer is not None and buffer.shape[2] >= end:
        return buffer
    batch, heads, _, head_dim = new.shape
    grown = new.new_empty(batch, heads, max(64, 2 * end), head_dim)
    if buffer is not None:
        grown[:, :, : buffer.shape[2]] = buffer
    return grown


def _joined_rows(before: Tensor | None, new: Tensor) -> Tensor:
    """Return positions of old and new tokens; one row stands for all sequences."""
    if before is None:
        return new
    rows = max(len(before), len(new))
    return torch.cat(
        [p if len(p) == rows else p.expand(rows, *p.shape[1:]) for p in (before, new)], 1
    )


def _joined(before: Any, new: Any) -> Any:
    """Return state of old and new tokens, every tensor joined on its time axis, 1."""
    if new is None or before is None:
        return new
    if isinstance(new, tuple):
        return tuple(_joined(b, n) for b, n in zip(before, new, strict=True))
    return torch.cat((before, new), dim=1)


def _closed_up(buffer: Tensor, first: int, last: slice) -> Tensor:
    """Return a buffer of keys or values with some tokens moved up behind the first."""
    end = first + last.stop - last.start
    buffer[:, :, first:end] = buffer[:, :, last].clone()  # they may overlap
    # A long text read at once leaves a buffer that would never fill again.
    most = 4 * max(64, end)
    return buffer if buffer.shape[2] <= most else buffer[:, :, : most // 2].clone()


def _ends(state: Any, first: int, last: int) -> Any:
    """Return the state of the first tokens and the last, every tensor on its time axis, 1."""
    if state is None:
        return None
    if isinstance(state, tuple):
        return tuple(_ends(each, first, last) for each in state)
    return torch.cat((state[:, :first], state[:, state.shape[1] - last :]), 1)
