"""Forward passes over long texts in chunks, with a key-value cache between them.

A single forward pass holds one layer's activations for the whole text. In chunks it holds those of
a chunk, plus every layer's keys and values of earlier chunks. Results are equal, because the cache
gets the length of the whole text as its context length, which length-dependent scaling divides by.

Which needs less memory depends on the layers: keys and values of five layers are about as large as
the activations of one. Attention itself is chunked in both cases. Peak memory in MiB without the
weights, at 16,384 tokens in float32:

    4 layers, width 128     rotary 193 in chunks, 163 in one pass; ALiBi 204, 193; T5 214, 200;
                            forgetting gates 646, 163; chunks took 1.3 to 1.6 times as long
    6 layers, width 384     523, 432
    12 layers, width 192    615, 250

So chunks do not help models of the presets' sizes up to this length; beyond it they bound the
activations. A text of at most one chunk is processed in a single pass.

Not here: bidirectional models, whose first token attends to the last, and isolated documents. Both
need a single pass.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from wordorder.batch import Batch
from wordorder.model import LanguageModel, TokenModel

# Tokens. For 16,384 tokens a single pass takes 9 s on one core, chunks of 2,048 take 14 s.
CHUNK = 1 << 14


def largest_chunk(model: nn.Module, chunk: int) -> int:
    """Return the most tokens, at most `chunk`, that one forward pass of a model can process."""
    longest = model.longest_pass if isinstance(model, TokenModel) and model.config.causal else None
    return min(chunk, longest or chunk)


@torch.no_grad()
def hidden_chunks(
    model: TokenModel,
    tokens: Tensor,
    *,
    chunk: int | None = None,
    positions: Tensor | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Yield the final hidden states of a text, chunk by chunk.

    Args:
        model: a causal transformer or GRU.
        tokens: (batch, time) int64.
        chunk: most tokens in a forward pass, at least 1; None: `CHUNK`.
        positions: (1 or batch, time); None: 0, 1, 2, ...

    Shapes: yields a chunk's first index and its states (batch, at most `chunk`, width).

    Raises:
        PositionError: a position is beyond the longest that the embedding can represent; raised
            before the first chunk.
    """
    time, chunk = tokens.shape[1], largest_chunk(model, chunk or CHUNK)
    if time <= chunk:
        yield 0, model.hidden(Batch(tokens, positions=positions))
        return
    if isinstance(model, LanguageModel):  # raises if a position is too large
        model.layout(Batch(tokens, positions=positions))
    cache = model.new_cache(context_length=time)
    for first in range(0, time, chunk):
        part = slice(first, first + chunk)
        some = None if positions is None else positions[:, part]
        yield first, model.hidden(Batch(tokens[:, part], positions=some), cache)


def last_hidden(
    model: TokenModel,
    tokens: Tensor,
    last: int,
    *,
    chunk: int | None = None,
    positions: Tensor | None = None,
) -> Tensor:
    """Return the hidden states (batch, last, width) of a text's last tokens, and hold no others."""
    begin = tokens.shape[1] - last
    parts = [
        hidden[:, max(0, begin - first) :]
        for first, hidden in hidden_chunks(model, tokens, chunk=chunk, positions=positions)
        if first + hidden.shape[1] > begin
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def chunked_losses(
    model: TokenModel, tokens: Tensor, targets: Tensor, *, chunk: int | None = None
) -> Tensor:
    """Return the loss of every target in nats, (batch, time), like `model(batch)`."""
    losses = [
        model.target_losses(hidden, targets[:, first : first + hidden.shape[1]])
        for first, hidden in hidden_chunks(model, tokens, chunk=chunk)
    ]
    return torch.cat(losses, 1)
