"""One request to a model: which tokens it reads, and where they stand."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, device


class Batch(NamedTuple):
    """What a model reads in one forward pass; tensors are int64 `(batch, time)`.

    Args:
        tokens: the input.
        targets: the token to predict at each place; -1 is not counted. None: no loss is asked for.
        documents: which document each token belongs to: tokens attend to their own document
            alone, and -1 is padding. None: each row is one document.
        positions: what the positional embedding sees, (batch or 1, time), of any dtype. None: they
            go on from the cache, or from 0.
        consecutive: the positions given step by one inside each document, as they do where none
            are given; biases by distance are faster for knowing it.
        context_length: what length-dependent scaling divides by: how long the text is, or may
            yet become. 0: what the cache was made with; without one, the number of tokens.
    """

    tokens: Tensor
    targets: Tensor | None = None
    documents: Tensor | None = None
    positions: Tensor | None = None
    consecutive: bool = False
    context_length: int = 0

    @classmethod
    def of(cls, tokens: Tensor | Batch) -> Batch:
        """Return tokens alone as a batch; a batch as it is."""
        return tokens if isinstance(tokens, Batch) else cls(tokens)

    def to(self, target: device | str) -> Batch:
        """Return the same batch on a device."""
        return Batch(*(each.to(target) if isinstance(each, Tensor) else each for each in self))
