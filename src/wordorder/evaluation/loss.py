"""Loss over a text, in all and by position, up to any length.

Windows are laid side by side, so that every token is predicted exactly once and
the sum over the text's bytes is bits per byte. A token at position 3 is predicted
from 3 tokens and one at 3,000 from 3,000: one number over a window mixes them, so
the loss is given by position too, in buckets that double.

Errors are those of windows, not of tokens: what a window is about makes its tokens
easy or hard together, and counted one by one they would look surer than they are.

Not here: losses of the same tokens with growing context.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from wordorder.errors import BadInput
from wordorder.evaluation.streaming import CHUNK, chunked_losses
from wordorder.model import evaluating
from wordorder.text.batches import NOT_COUNTED, Batch, Objective, evaluation_windows
from wordorder.text.store import TokenStore

# Logits of this many tokens at once: 134 MB where the vocabulary is 4,096.
TOKENS_PER_BATCH = 8192

FIRST_BUCKET = 16  # below it a bucket would hold too few tokens to say anything


@dataclass(frozen=True)
class PositionLoss:
    """The loss at positions `first` to `last`, both included."""

    first: int
    last: int
    loss_nats: float
    standard_error: float | None
    tokens: int


@dataclass(frozen=True)
class Loss:
    """What a model scored on a text.

    Args:
        loss_nats: per token, the end of each document included.
        standard_error: of `loss_nats`, over windows; None where there is only one.
        bits_per_byte: all bits over the UTF-8 bytes of the text, which compares across tokenizers;
            None for masked-token, where a model is asked for some of the text only.
        tokens: how many were predicted.
        bytes: of the whole text.
        windows: how many the text was cut into.
        context_length: tokens in a window.
        by_position: one for each bucket that has tokens.
    """

    loss_nats: float
    standard_error: float | None
    bits_per_byte: float | None
    tokens: int
    bytes: int
    windows: int
    context_length: int
    by_position: tuple[PositionLoss, ...]


def evaluate(
    model: nn.Module,
    store: TokenStore,
    *,
    context_length: int,
    isolate_documents: bool = False,
    objective: Objective = "next-token",
    mask_id: int | None = None,
    progress: Callable[[float], Any] = lambda _: None,
) -> Loss:
    """Measure a model's loss over a whole store.

    Args:
        model: anything with `token_losses(tokens, targets, *, positions, documents)`; past `CHUNK`
            tokens a language model.
        store: the tokens; at least one window of them.
        context_length: tokens in a window; past the trained length too.
        isolate_documents: positions restart in each document, and documents do not see each other.
        objective: what the model was trained for.
        mask_id: the token that hides another, for masked-token.
        progress: called with the share that is done, 0 to 1.

    Raises:
        BadInput: where the store is shorter than one window.
    """
    if len(store) < context_length:
        raise BadInput(
            f"the text is {len(store):,} tokens, shorter than one window of {context_length:,}: "
            f"give more text, or a length of at most {len(store)}"
        )
    edges = bucket_edges(context_length)
    rows = max(1, TOKENS_PER_BATCH // context_length)
    windows = -(-len(store) // context_length)
    batches = evaluation_windows(
        store,
        context_length,
        rows,
        isolate_documents=isolate_documents,
        objective=objective,
        mask_id=mask_id,
    )
    parts = []
    for number, batch in enumerate(batches):
        parts.append(_bucket_sums(model, batch, edges))
        progress(min(1.0, (number + 1) * rows / windows))
    sums, counts = (torch.cat(part) for part in zip(*parts, strict=True))
    return _summary(sums, counts, edges, store.bytes, context_length, objective)


def bucket_edges(context_length: int) -> list[int]:
    """Where buckets begin: 0, 16, 32, 64, ... and where the last one ends."""
    edges = [0]
    edge = FIRST_BUCKET
    while edge < context_length:
        edges.append(edge)
        edge *= 2
    return [*edges, context_length]


@torch.no_grad()
def _bucket_sums(
    model: nn.Module, batch: Batch, edges: list[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses and counts of each window (row) in each bucket (column), float64."""
    device = next(model.parameters()).device
    tokens, targets, documents, positions = batch.to(device)
    with evaluating(model):
        # What stands apart, or sees what comes after it, cannot be read a chunk at a time.
        if tokens.shape[1] > CHUNK and documents is None and model.config.causal:
            losses = chunked_losses(model, tokens, targets)
        else:
            losses = model.token_losses(
                tokens, targets, positions=positions, documents=documents, consecutive=True
            )
    if positions is None:
        positions = torch.arange(tokens.shape[1], device=device).expand_as(tokens)
    starts = torch.tensor(edges[1:-1], device=device)
    bucket = torch.bucketize(positions.contiguous(), starts, right=True).cpu()
    counted = (targets != NOT_COUNTED).double().cpu()
    empty = torch.zeros(len(tokens), len(edges) - 1, dtype=torch.float64)
    losses = losses.double().cpu() * counted
    return empty.scatter_add(1, bucket, losses), empty.scatter_add(1, bucket, counted)


def _summary(
    sums: torch.Tensor,
    counts: torch.Tensor,
    edges: list[int],
    text_bytes: int,
    context_length: int,
    objective: Objective,
) -> Loss:
    loss, error = mean_per_token(sums.sum(1), counts.sum(1))
    buckets = []
    for column, first in enumerate(edges[:-1]):
        tokens = int(counts[:, column].sum())
        if tokens:
            mean = mean_per_token(sums[:, column], counts[:, column])
            buckets.append(PositionLoss(first, edges[column + 1] - 1, *mean, tokens))
    bits = float(sums.sum()) / math.log(2) / text_bytes
    return Loss(
        loss_nats=loss,
        standard_error=error,
        bits_per_byte=bits if objective == "next-token" else None,
        tokens=int(counts.sum()),
        bytes=text_bytes,
        windows=len(sums),
        context_length=context_length,
        by_position=tuple(buckets),
    )


def mean_per_token(sums: torch.Tensor, counts: torch.Tensor) -> tuple[float, float | None]:
    """Mean per token and its standard error over windows.

    Source: Cochran 1977, Sampling Techniques, eq. 6.13: the error of a ratio of sums.
    """
    held = counts > 0
    sums, counts = sums[held], counts[held]
    mean = sums.sum() / counts.sum()
    windows = len(sums)
    if windows < 2:
        return float(mean), None
    spread = ((sums - mean * counts) ** 2).sum() * windows / (windows - 1)
    return float(mean), float(spread.sqrt() / counts.sum())
