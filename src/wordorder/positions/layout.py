"""Positions, indices and documents of the tokens of one forward pass.

This is all that an embedding knows about a sequence. Most bugs with positions confuse these
three: positions are the embedding's input, indices give order and causality, and documents
give the mask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

Table = TypeVar("Table")


@dataclass(frozen=True)
class TokenLayout:
    """Positions, indices and documents of one forward pass, shared by all layers.

    Facts about the tensors (consecutive, trailing, self_attention) are fields, declared by the
    code that creates the layout. They are never inferred from object identity or strides,
    which copying a tensor would change.

    Args:
        query_positions: (batch or 1, query) integers, or floats where positions are
            interpolated; grid coordinates have one more axis at the end. A single row applies
            to every sequence of the batch.
        key_positions: (batch or 1, key), the same for the keys.
        query_indices: (query,) int64, index of each query into the key axis. Order and
            causality come from indices, never from positions.
        query_documents: (batch, query) int64 or None for one document; -1 is padding.
        key_documents: (batch, key), likewise.
        context_length: the length that length-dependent scaling uses, fixed by the caller.
        causal: whether queries attend only to keys at or before their own index.
        consecutive: positions increase by one in a document, so for every pair of tokens that
            may attend to each other, the difference of positions is the difference of indices.
        trailing: the queries are the last tokens of the key axis.
        self_attention: the queries and the keys are the same tokens, as without a cache.
    """

    query_positions: Tensor
    key_positions: Tensor
    query_indices: Tensor
    query_documents: Tensor | None = None
    key_documents: Tensor | None = None
    context_length: int = 0
    causal: bool = True
    consecutive: bool = False
    trailing: bool = False
    self_attention: bool = False

    @classmethod
    def of(
        cls,
        positions: Tensor,
        documents: Tensor | None = None,
        *,
        context_length: int = 0,
        causal: bool = True,
        consecutive: bool = False,
    ) -> TokenLayout:
        """Return the layout of whole sequences, where every token is both query and key.

        Shapes: positions (batch or 1, time), documents (batch, time) or None.
        """
        time = positions.shape[1]
        indices = torch.arange(time, device=positions.device)
        return cls(
            positions,
            positions,
            indices,
            documents,
            documents,
            context_length or time,
            causal,
            consecutive,
            trailing=True,
            self_attention=True,
        )

    @property
    def shared_rows(self) -> bool:
        """Whether every sequence of the batch has the same positions and is one document."""
        return self.key_positions.shape[0] == 1 and self.key_documents is None

    def at_both(self, of_positions: Callable[[Tensor], Table]) -> tuple[Table, Table]:
        """Return what is computed at the queries' positions and at the keys'.

        It is computed once where they are the same tokens.
        """
        queries = of_positions(self.query_positions)
        return queries, queries if self.self_attention else of_positions(self.key_positions)

    def newest(self) -> TokenLayout:
        """Return the layout of the queries alone, as both queries and keys.

        It is used to rotate only the new keys when a cache keeps rotated keys.
        """
        if self.self_attention:
            return self
        indices = torch.arange(self.query_indices.shape[0], device=self.query_indices.device)
        return replace(
            self,
            key_positions=self.query_positions,
            key_documents=self.query_documents,
            query_indices=indices,
            trailing=True,
            self_attention=True,
        )

    def of_sequences(self, sequences: slice) -> TokenLayout:
        """Return the layout of some sequences of the batch.

        Tensors with one row shared by the batch are left as they are.
        """

        def cut(tensor: Tensor) -> Tensor:
            return tensor if len(tensor) == 1 else tensor[sequences]

        of_queries, of_keys = self.query_documents, self.key_documents
        return replace(
            self,
            query_positions=cut(self.query_positions),
            key_positions=cut(self.key_positions),
            query_documents=None if of_queries is None else cut(of_queries),
            key_documents=None if of_keys is None else cut(of_keys),
        )

    def distances(self) -> Tensor:
        """Return query position minus key position, (batch or 1, query, key)."""
        return self.query_positions[:, :, None] - self.key_positions[:, None, :]

    def needs_mask(self, window: int | None = None) -> bool:
        """Return whether a mask is needed, without reading tensor values."""
        if self.key_documents is not None:
            return True
        single = self.trailing and self.query_indices.shape[0] == 1
        narrow = window is not None and self.key_positions.shape[1] > window
        return (self.causal and not single) or narrow

    def may_attend(
        self,
        window: int | None = None,
        queries: slice | None = None,
        keys: slice | None = None,
    ) -> Tensor:
        """Return which keys each query may attend to, (batch or 1, 1, query, key) bool.

        The mask depends on indices and documents, never on positions. A padding query attends
        to itself only, so that no row is empty and no softmax divides by zero.

        Args:
            window: the layer's sliding window: a query attends to at most this many tokens,
                itself included; without `causal`, to fewer than this many on either side.
            queries, keys: slices of the query and key axes to return; None: all.
        """
        device = self.key_positions.device
        query = torch.arange(self.query_indices.shape[0], device=device)
        key = torch.arange(self.key_positions.shape[1], device=device)
        query = (query if queries is None else query[queries])[None, :, None]
        key = key if keys is None else key[keys]
        sequences = 1 if self.query_documents is None else self.query_documents.shape[0]
        sequence = torch.arange(sequences, device=device)[:, None, None]
        return self.may_attend_at(sequence, query, key, window)[:, None]

    def may_attend_at(
        self, sequence: Tensor, query: Tensor, key: Tensor, window: int | None = None
    ) -> Tensor:
        """Return whether queries may attend to keys, as `may_attend`, for single pairs.

        Args:
            sequence, query, key: indices; grids that broadcast, or scalars inside a fused
                kernel. The result is bool of their broadcast shape.
        """
        steps_back = self.query_indices[query] - key
        allowed = steps_back >= 0 if self.causal else torch.ones_like(steps_back, dtype=torch.bool)
        if window is not None:
            allowed = allowed & (steps_back.abs() < window)
        if self.query_documents is None or self.key_documents is None:
            return allowed
        source = self.key_documents[sequence, key]
        same = self.query_documents[sequence, query] == source
        return (allowed & same & (source >= 0)) | (steps_back == 0)


def index_grid(scores: Tensor, query_indices: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the indices batch, head, query and key of scores, as grids that broadcast.

    Shapes: scores (batch, heads, query, key), query_indices (query,); the results
    (batch, 1, 1, 1), (heads, 1, 1), (query, 1) and (key,).
    """
    batch, heads, _, source = scores.shape
    device = scores.device
    return (
        torch.arange(batch, device=device)[:, None, None, None],
        torch.arange(heads, device=device)[:, None, None],
        query_indices[:, None],
        torch.arange(source, device=device),
    )
