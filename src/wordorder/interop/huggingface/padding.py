"""Positions and documents of tokens that transformers describes by an attention mask."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

PADDING = -1  # the document of padding, which nothing attends to


class PaddedTokens(NamedTuple):
    """What a mask says of tokens, (batch, time) each.

    Args:
        documents: int64, 0 or `PADDING`.
        positions: int64, counted from the first token that is not padding.
        consecutive: whether positions of real tokens differ by as much as their indices.
    """

    documents: Tensor
    positions: Tensor
    consecutive: bool

    @classmethod
    def of(cls, mask: Tensor) -> PaddedTokens | None:
        """Return what a mask (batch, time) says; None if it has no padding."""
        is_real = mask != 0
        if bool(is_real.all()):
            return None
        # With a gap, positions differ by less than indices do.
        beginnings = is_real[:, 0] + (is_real[:, 1:] & ~is_real[:, :-1]).sum(1)
        return cls(
            torch.where(is_real, 0, PADDING),
            (is_real.cumsum(-1) - 1).clamp(min=0),
            bool((beginnings <= 1).all()),
        )

    def last(self, tokens: int) -> PaddedTokens:
        """Return the same of the last tokens alone."""
        return self._replace(
            documents=self.documents[:, -tokens:], positions=self.positions[:, -tokens:]
        )


def are_equal(position_ids: Tensor, positions: Tensor, documents: Tensor | None) -> bool:
    """Return whether given positions are the usual ones of all tokens that are not padding.

    Shapes: position_ids (batch or 1, time); positions, documents (batch or 1, time).
    """
    if position_ids.shape[1:] != positions.shape[1:]:
        return False
    equal = position_ids == positions
    return bool((equal if documents is None else equal | (documents == PADDING)).all())
