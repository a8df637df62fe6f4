"""Long texts read in chunks through the cache, so that what a chunk needs is all that is held.

A forward pass over a whole text holds every layer's activations for all of its tokens at once.
Read a chunk at a time, it holds those of a chunk, and of the chunks before it keys and values
alone. The answer is the same, because the cache is told the length of the whole text: scaling
that depends on the length divides by what it would have divided by in one piece.

Texts of at most a chunk are read in one piece, as if there were nothing here.

Not here: bidirectional models, whose first token sees the last, and packed documents that do not
see each other: they are read in one piece.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from wordorder.model import LanguageModel, TokenModel
from wordorder.model.decoding import Cache, make_cache

# Measured on two cores with a model of 6 layers of width 256 at 16,384 tokens: chunks of half
# the size hold a little less and take longer, of twice the size hold half as much again.
CHUNK = 2048


@torch.no_grad()
def hidden_chunks(
    model: TokenModel, tokens: Tensor, *, chunk: int = CHUNK, positions: Tensor | None = None
) -> Iterator[tuple[int, Tensor]]:
    """Yield the final hidden states of a text, a chunk at a time.

    Args:
        model: a causal one, transformer or GRU.
        tokens: (batch, time) int64.
        chunk: tokens read at once, at least 1.
        positions: (1 or batch, time); None for 0, 1, 2, ...

    Shapes: each chunk's first slot, and its states (batch, at most `chunk`, width).

    Raises:
        BadInput: a position past the longest that the embedding can represent, before any is read.
    """
    time = tokens.shape[1]
    if time <= chunk:
        yield 0, model.hidden(tokens, positions)
        return
    cache = make_cache(model)
    if isinstance(model, LanguageModel):
        model.geometry(tokens, positions, None, None)
        cache = Cache(model, context_length=time)
    for first in range(0, time, chunk):
        own = slice(first, first + chunk)
        given = None if positions is None else positions[:, own]
        yield first, model.hidden(tokens[:, own], given, cache=cache)


def last_hidden(
    model: TokenModel,
    tokens: Tensor,
    last: int,
    *,
    chunk: int = CHUNK,
    positions: Tensor | None = None,
) -> Tensor:
    """Return the hidden states (batch, last, width) of a text's last tokens; no others are kept."""
    kept = tokens.shape[1] - last
    found = [
        hidden[:, max(0, kept - first) :]
        for first, hidden in hidden_chunks(model, tokens, chunk=chunk, positions=positions)
        if first + hidden.shape[1] > kept
    ]
    return found[0] if len(found) == 1 else torch.cat(found, 1)


def chunked_losses(
    model: TokenModel, tokens: Tensor, targets: Tensor, *, chunk: int = CHUNK
) -> Tensor:
    """Return the loss of every target in nats, (batch, time), as a model's `token_losses`."""
    losses = [
        model.losses_of(hidden, targets[:, first : first + hidden.shape[1]])
        for first, hidden in hidden_chunks(model, tokens, chunk=chunk)
    ]
    return torch.cat(losses, 1)
