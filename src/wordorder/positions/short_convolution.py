"""The input of a short convolution: each token and the few before it in its document.

The tokens before are found by index, not by position. Padding is skipped wherever it is, and
tokens of other documents are left out, so that packed, padded and masked sequences give the
same result as they do alone. Vectors before the start of a document are zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .layout import TokenLayout


def recent(vectors: Tensor, layout: TokenLayout, taps: int) -> Tensor:
    """Return each query's vector and those of the taps - 1 tokens before it, newest first.

    Args:
        vectors: (batch, key, width), of all tokens so far.
        taps: number of tokens, the query's own included.

    Shapes: the result (batch, query, taps, width).
    """
    indices = _indices(layout, taps)  # (batch or 1, query, taps)
    batch, width = vectors.shape[0], vectors.shape[-1]
    flat = indices.clamp(min=0).expand(batch, -1, -1).flatten(1)[..., None]
    windows = vectors.gather(1, flat.expand(-1, -1, width)).unflatten(1, indices.shape[1:])
    return windows * (indices >= 0)[..., None]


def _indices(layout: TokenLayout, taps: int) -> Tensor:
    """Return the indices (batch or 1, query, taps) of each query and the tokens before it.

    -1 where no token is. With documents, each token links to the one before it that is not
    padding, and the links are followed:

        index            0   1   2   3   4
        document         0  -1   0   0   1
        link            -1   0   0   2   3
        3 taps of 3:     3, 2, 0
        3 taps of 4:     4, -1, -1        (3 and 2 are of another document)
    """
    queries = layout.query_indices
    documents = layout.key_documents
    if documents is None:
        return (queries[:, None] - torch.arange(taps, device=queries.device)).clamp(min=-1)[None]
    every_index = torch.arange(documents.shape[1], device=queries.device)
    last = torch.where(documents >= 0, every_index, -1).cummax(1).values  # last token up to here
    links = torch.cat((torch.full_like(last[:, :1], -1), last[:, :-1]), 1)
    # One more entry at the end, so that -1, taken modulo the length, links to -1 itself.
    links = torch.cat((links, torch.full_like(last[:, :1], -1)), 1)
    chain = [queries.expand(documents.shape[0], -1)]
    for _ in range(taps - 1):
        chain.append(links.gather(1, chain[-1] % links.shape[1]))
    indices = torch.stack(chain, -1)
    document = documents.gather(1, indices.clamp(min=0).flatten(1)).view_as(indices)
    return torch.where(document == document[..., :1], indices, -1)
