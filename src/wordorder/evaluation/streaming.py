"""Long texts read in chunks through the cache: the activations of a chunk, the keys of the text.

A forward pass over a whole text holds one layer's activations for all of its tokens at once. Read a
chunk at a time, it holds those of a chunk, and every layer's keys and values of the chunks before
it. The answer is the same, because the cache is told the length of the whole text: scaling that
depends on the length divides by what it would have divided by in one piece.

Which is less depends on the layers: the keys and values of five are about as large as one layer's
activations. Attention itself is made in pieces on both roads. At 16,384 tokens in float32, beyond
the model, a model of 4 layers of width 128 took 193 MiB in chunks and 163 in one piece with rotary,
204 and 193 with ALiBi, 214 and 200 with T5, 646 and 163 with forgetting gates, and 1.3 to 1.6 times
as long; one of 6 layers of width 384 took 523 and 432, one of 12 of width 192 615 and 250. So it is
no gain for the presets, and a chunk is long: beyond it alone what a chunk needs goes on growing in
one piece. Texts of at most a chunk are read so, as if there were nothing here.

Not here: bidirectional models, whose first token sees the last, and packed documents that do not
see each other: they are read in one piece.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from wordorder.batch import Batch
from wordorder.model import LanguageModel, TokenModel

# The measured road of 16,384 tokens is one piece: 9 s of one core where chunks of 2,048 take 14.
CHUNK = 1 << 14


@torch.no_grad()
def hidden_chunks(
    model: TokenModel,
    tokens: Tensor,
    *,
    chunk: int | None = None,
    positions: Tensor | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Yield the final hidden states of a text, a chunk at a time.

    Args:
        model: a causal one, transformer or GRU.
        tokens: (batch, time) int64.
        chunk: tokens read at once, at least 1; None: `CHUNK`.
        positions: (1 or batch, time); None for 0, 1, 2, ...

    Shapes: each chunk's first slot, and its states (batch, at most `chunk`, width).

    Raises:
        BadInput: a position past the longest that the embedding can represent, before any is read.
    """
    time, chunk = tokens.shape[1], chunk or CHUNK
    if time <= chunk:
        yield 0, model.hidden(Batch(tokens, positions=positions))
        return
    if isinstance(model, LanguageModel):  # refuses what is too long
        model.layout(Batch(tokens, positions=positions))
    cache = model.new_cache(context_length=time)
    for first in range(0, time, chunk):
        own = slice(first, first + chunk)
        given = None if positions is None else positions[:, own]
        yield first, model.hidden(Batch(tokens[:, own], positions=given), cache)


def last_hidden(
    model: TokenModel,
    tokens: Tensor,
    last: int,
    *,
    chunk: int | None = None,
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
    model: TokenModel, tokens: Tensor, targets: Tensor, *, chunk: int | None = None
) -> Tensor:
    """Return the loss of every target in nats, (batch, time), as a model gives of a whole batch."""
    losses = [
        model.target_losses(hidden, targets[:, first : first + hidden.shape[1]])
        for first, hidden in hidden_chunks(model, tokens, chunk=chunk)
    ]
    return torch.cat(losses, 1)
