"""Loss over a text, in all and by position, up to any length.

Windows are laid side by side, so that every token is predicted exactly once and
the sum over the text's bytes is bits per byte. A token at position 3 is predicted
from 3 tokens and one at 3,000 from 3,000: one number over a window mixes them, so
the loss is given by position too, in buckets that double.

Errors are those of documents, not of tokens or windows: what a document is about makes its tokens
easy or hard together, and counted one by one they would look surer than they are. Blocks stand for
documents where a text has too few: see intervals.py.

Not here: losses of the same tokens with growing context.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from wordorder.batch import Batch
from wordorder.errors import BadInput
from wordorder.evaluation.intervals import blocks_of, ratio
from wordorder.evaluation.streaming import CHUNK, chunked_losses
from wordorder.model import evaluating
from wordorder.numerals import counted
from wordorder.text.batches import NOT_COUNTED, Objective, evaluation_windows
from wordorder.text.store import TokenStore

# Logits of this many tokens at once: 134 MB where the vocabulary is 4,096.
TOKENS_PER_BATCH = 8192

FIRST_BUCKET = 16  # below it a bucket would hold too few tokens to say anything


@dataclass(frozen=True)
class PositionLoss:
    """The loss at positions `first` to `last`, both included, with its error as in `Loss`."""

    first: int
    last: int
    loss_nats: float
    standard_error: float | None
    tokens: int
    degrees_of_freedom: float | None = None


@dataclass(frozen=True)
class Loss:
    """What a model scored on a text.

    Args:
        loss_nats: per token, the end of each document included.
        standard_error: of `loss_nats`, over documents, or over blocks of a text with few; None
            where there is only one.
        bits_per_byte: all bits over the UTF-8 bytes of the text, which compares across tokenizers;
            None for masked-token, where a model is asked for some of the text only, and for a
            tokenizer that does not give the text back.
        tokens: how many were predicted.
        bytes: of the whole text.
        windows: how many the text was cut into.
        context_length: tokens in a window.
        by_position: one for each bucket that has tokens.
        degrees_of_freedom: of the t-interval of `loss_nats`; None where there is no error.
        documents: in the text.
        blocks: into how many the text was cut to stand for documents; 0 where it was not.
    """

    loss_nats: float
    standard_error: float | None
    bits_per_byte: float | None
    tokens: int
    bytes: int
    windows: int
    context_length: int
    by_position: tuple[PositionLoss, ...]
    degrees_of_freedom: float | None = None
    documents: int = 0
    blocks: int = 0


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
        model: anything that returns the losses of a `Batch`; past `CHUNK` tokens a language model.
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
            f"the text is {counted(len(store), 'token')}, shorter than one window of "
            f"{context_length:,}: give more text, or a length of at most {len(store)}"
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
    starts = cluster_starts(store)
    sums, counts = (np.zeros((len(starts), len(edges) - 1)) for _ in range(2))
    for number, batch in enumerate(batches):
        # The first window reads from the end-of-text before the first token, and leaves none out.
        first = number * rows * context_length - (objective == "masked-token")
        _add(sums, counts, _by_place(model, batch), starts, edges, first)
        progress(min(1.0, (number + 1) * rows / windows))
    return _summary(sums, counts, edges, store, context_length, objective)


def bucket_edges(context_length: int) -> list[int]:
    """Where buckets begin: 0, 16, 32, 64, ... and where the last one ends."""
    edges = [0]
    edge = FIRST_BUCKET
    while edge < context_length:
        edges.append(edge)
        edge *= 2
    return [*edges, context_length]


def cluster_starts(store: TokenStore) -> NDArray[np.int64]:
    """Return where what is independent begins: each document, or each block of a text with few."""
    sizes = store.sizes
    blocks = blocks_of(sizes)
    number = np.concatenate([np.arange(each) for each in blocks])
    size, count = np.repeat(sizes, blocks), np.repeat(blocks, blocks)
    return np.repeat(store.starts, blocks) + -(-number * size // count)


@torch.no_grad()
def _by_place(model: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return every target's loss, whether it counts, and its position, (batch, time) each."""
    device = next(model.parameters()).device
    batch = batch.to(device)
    tokens, positions = batch.tokens, batch.positions
    with evaluating(model):
        # Packed documents and bidirectional models cannot be read a chunk at a time.
        if tokens.shape[1] > CHUNK and batch.documents is None and model.config.causal:
            losses = chunked_losses(model, tokens, batch.targets)
        else:
            losses = model(batch)
    if positions is None:
        positions = torch.arange(tokens.shape[1], device=device).expand_as(tokens)
    return losses.double().cpu(), (batch.targets != NOT_COUNTED).cpu(), positions.cpu()


def _add(
    sums: NDArray[np.float64],
    counts: NDArray[np.float64],
    read: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    starts: NDArray[np.int64],
    edges: list[int],
    first: int,
) -> None:
    """Add the losses of a batch to those of their clusters (rows) and buckets (columns).

    Args:
        first: the place in the text of the batch's first target.
    """
    losses, counted, positions = (each.numpy() for each in read)
    places = (first + np.arange(losses.size).reshape(losses.shape))[counted]
    cluster = np.searchsorted(starts, places, side="right") - 1
    bucket = np.searchsorted(edges[1:-1], positions[counted], side="right")
    np.add.at(sums, (cluster, bucket), losses[counted])
    np.add.at(counts, (cluster, bucket), 1)


def _summary(
    sums: NDArray[np.float64],
    counts: NDArray[np.float64],
    edges: list[int],
    store: TokenStore,
    context_length: int,
    objective: Objective,
) -> Loss:
    loss = ratio(sums.sum(1), counts.sum(1))
    buckets = []
    for column, first in enumerate(edges[:-1]):
        tokens = int(counts[:, column].sum())
        if tokens:
            own, last = ratio(sums[:, column], counts[:, column]), edges[column + 1] - 1
            error = own.standard_error, tokens, own.degrees_of_freedom
            buckets.append(PositionLoss(first, last, own.mean, *error))
    bits = float(sums.sum()) / math.log(2) / store.bytes
    documents = len(store.starts)
    return Loss(
        loss_nats=loss.mean,
        standard_error=loss.standard_error,
        bits_per_byte=bits if objective == "next-token" and store.lossless else None,
        tokens=int(counts.sum()),
        bytes=store.bytes,
        windows=-(-len(store) // context_length),
        context_length=context_length,
        by_position=tuple(buckets),
        degrees_of_freedom=loss.degrees_of_freedom,
        documents=documents,
        blocks=len(sums) if len(sums) > documents else 0,
    )
