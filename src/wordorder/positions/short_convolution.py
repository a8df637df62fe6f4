"""Each token with the few before it in its own document: what a short convolution reads.

Positions have no part in it: which token came before is a matter of order, so of slots.
Tokens of other documents and padding are passed over, wherever they stand, so that packed,
padded and masked texts are read as they are alone. Tokens before the start count as zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .base import TokenLayout


def recent(vectors: Tensor, layout: TokenLayout, taps: int) -> Tensor:
    """Return each query's own vector and those of the taps - 1 tokens before it.

    Args:
        vectors: of all tokens so far (batch, key, width).
        taps: how many, newest first.

    Shapes: the result (batch, query, taps, width).
    """
    where = _where(layout, taps)  # (batch or 1, query, taps)
    batch, width = len(vectors), vectors.shape[-1]
    cells = where.clamp(min=0).expand(batch, -1, -1).flatten(1)[..., None]
    found = vectors.gather(1, cells.expand(-1, -1, width)).unflatten(1, where.shape[1:])
    return found * (where >= 0)[..., None]


def _where(layout: TokenLayout, taps: int) -> Tensor:
    """Return the slots of each query and of the tokens before it, -1 where there is none."""
    slots = layout.query_indices
    documents = layout.key_documents
    if documents is None:
        return (slots[:, None] - torch.arange(taps, device=slots.device)).clamp(min=-1)[None]
    every = torch.arange(documents.shape[1], device=slots.device)
    last = torch.where(documents >= 0, every, -1).cummax(1).values
    before = torch.cat((torch.full_like(last[:, :1], -1), last[:, :-1]), 1)
    # A slot with nothing before it leads to -1, which leads nowhere: one more cell holds it.
    before = torch.cat((before, torch.full_like(last[:, :1], -1)), 1)
    own = slots.expand(len(documents), -1)
    chain = [own]
    for _ in range(taps - 1):
        chain.append(before.gather(1, chain[-1] % before.shape[1]))
    where = torch.stack(chain, -1)
    document = documents.gather(1, where.clamp(min=0).flatten(1)).view_as(where)
    return torch.where(document == document[..., :1], where, -1)
