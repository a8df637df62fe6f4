"""Where the tokens of one forward pass stand: all that an embedding may know of a sequence.

Three things that most bugs of this field confuse are three fields here: positions (what the
embedding sees), indices (order and causality) and documents (the mask).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenLayout:
    """Where the tokens of one forward pass stand; made once, shared by all layers.

    Facts about the tensors are fields, declared by whoever makes the layout. They are never
    read off object identity or strides, which a copy of a tensor would change.

    Args:
        query_positions: (batch or 1, query), what the embedding sees; integers, or floats
            where positions are interpolated; a last axis holds grid coordinates. One row
            stands for every sequence of the batch.
        key_positions: (batch or 1, key), the same for the keys.
        query_indices: (query,) int64, index of each query into the key axis. Order and
            causality come from indices, never from positions.
        query_documents: (batch, query) int64 or None for one document; -1 is padding.
        key_documents: (batch, key), likewise.
        context_length: what length-dependent scaling divides by, fixed by the caller.
        causal: whether the future is hidden.
        consecutive: positions step by one inside a document, so that for every pair of tokens
            that may attend to each other the distance of positions is the distance of indices.
        trailing: the queries are the last tokens of the key axis.
        self_attention: the queries and the keys are the same tokens, as they are without a
            cache.
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

    def newest(self) -> TokenLayout:
        """Return the layout of the queries alone, as both queries and keys.

        It is what rotating only the new keys needs, when a cache keeps rotated ones.
        """
        if self.self_attention:
            return self
        indices = torch.arange(len(self.query_indices), device=self.query_indices.device)
        return replace(
            self,
            key_positions=self.query_positions,
            key_documents=self.query_documents,
            query_indices=indices,
            trailing=True,
            self_attention=True,
        )

    def of_sequences(self, sequences: slice) -> TokenLayout:
        """Return the layout of some sequences of the batch; a row that all share stays."""

        def cut(tensor: Tensor | None) -> Tensor | None:
            return tensor if tensor is None or len(tensor) == 1 else tensor[sequences]

        return replace(
            self,
            query_positions=cut(self.query_positions),
            key_positions=cut(self.key_positions),
            query_documents=cut(self.query_documents),
            key_documents=cut(self.key_documents),
        )

    def distances(self) -> Tensor:
        """Return query position minus key position, (batch or 1, query, key)."""
        return self.query_positions[:, :, None] - self.key_positions[:, None, :]

    def needs_mask(self, window: int | None = None) -> bool:
        """Return whether a mask is needed, judged from shapes alone."""
        single = self.trailing and len(self.query_indices) == 1
        keys = self.key_positions.shape[1]
        narrow = window is not None and keys > window
        return self.key_documents is not None or (self.causal and not single) or narrow

    def may_attend(
        self,
        window: int | None = None,
        queries: slice = slice(None),
        keys: slice = slice(None),
    ) -> Tensor:
        """Return which keys each query may attend to, (batch or 1, 1, query, key) bool.

        The mask comes from indices and documents, never from positions. A padding query
        attends to itself alone, so that no row is empty and no softmax divides by zero.

        Args:
            window: this layer's sliding window: a query attends to at most this many tokens,
                itself included; without `causal`, to as many on either side.
            queries, keys: only these.
        """
        device = self.key_positions.device
        query = torch.arange(len(self.query_indices), device=device)[None, queries, None]
        key = torch.arange(self.key_positions.shape[1], device=device)[keys]
        sequences = 1 if self.query_documents is None else len(self.query_documents)
        sequence = torch.arange(sequences, device=device)[:, None, None]
        return self.may_attend_at(sequence, query, key, window)[:, None]

    def may_attend_at(
        self, sequence: Tensor, query: Tensor, key: Tensor, window: int | None = None
    ) -> Tensor:
        """Return whether a query may attend to a key, bool: the rule of `may_attend` for pairs.

        Args:
            sequence, query, key: indices, as grids that broadcast, or scalars inside a fused
                kernel.
        """
        behind = self.query_indices[query] - key
        allowed = behind >= 0 if self.causal else torch.ones_like(behind, dtype=torch.bool)
        if window is not None:
            allowed = allowed & (behind.abs() < window)
        if self.query_documents is None or self.key_documents is None:
            return allowed
        source = self.key_documents[sequence, key]
        same = self.query_documents[sequence, query] == source
        return (allowed & same & (source >= 0)) | (behind == 0)


def index_grid(scores: Tensor, query_indices: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the indices (batch, head, query, key) of scores, as grids that broadcast.

    Shapes: scores (batch, heads, query, key), query_indices (query,).
    """
    batch, heads, _, source = scores.shape
    device = scores.device
    return (
        torch.arange(batch, device=device)[:, None, None, None],
        torch.arange(heads, device=device)[:, None, None],
        query_indices[:, None],
        torch.arange(source, device=device),
    )
