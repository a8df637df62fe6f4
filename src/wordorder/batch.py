"""The input of one forward pass: tokens, targets, documents and positions.

When several processes train one model, each takes every n-th row of the same batch (`RowShare`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, device


class Batch(NamedTuple):
    """The input of one forward pass; token tensors are int64 `(batch, time)`.

    Args:
        tokens: input token ids.
        targets: the token to predict at each index; -1 is ignored. None: no loss is computed.
        documents: document id of each token: tokens attend only to their own document, and -1 is
            padding. None: each row is one document.
        positions: positions for the embedding, (batch or 1, time), of any dtype; grid coordinates
            have one more axis at the end. None: they continue from the cache, or start at 0.
        consecutive: whether `positions` increase by one within each document, as they do when
            None; distance biases are then faster.
        context_length: sequence length for length-dependent scaling, including tokens still to be
            generated. 0: the length that the cache was created with, else the number of tokens.
    """

    tokens: Tensor
    targets: Tensor | None = None
    documents: Tensor | None = None
    positions: Tensor | None = None
    consecutive: bool = False
    context_length: int = 0

    @classmethod
    def of(cls, tokens: Tensor | Batch) -> Batch:
        """Return a tensor of tokens as a batch; a batch is returned unchanged."""
        return tokens if isinstance(tokens, Batch) else cls(tokens)

    def to(self, target: device | str) -> Batch:
        """Return the same batch on a device."""
        return self.map(lambda field: field.to(target))

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Return the same batch with each of its tensors changed."""
        fields: list[Any] = [change(f) if isinstance(f, Tensor) else f for f in self]
        return Batch(*fields)


class RowShare(NamedTuple):
    """The rows of a batch that one of several processes computes: rank, rank + count, ...

    Args:
        rank: number of the process, from 0.
        count: number of processes.
    """

    rank: int = 0
    count: int = 1  # type: ignore[assignment]  # it hides tuple.count, which nothing calls

    def of(self, batch: Batch) -> Batch:
        """Return these rows of a batch; a tensor with one row for all rows is kept."""
        if self.count == 1:
            return batch
        return batch.map(self.part)

    def part(self, field: Tensor) -> Tensor:
        """Return these rows of one tensor of a batch."""
        return field if len(field) == 1 else field[self.rank :: self.count].contiguous()


WHOLE = RowShare()
