"""Loss over a text, overall and by position, at any context length.

Windows do not overlap, so every token is predicted exactly once, and the total over the bytes of
the text is bits per byte. A token at position 3 is predicted from few tokens and one at 3,000 from
many: the mean over a window mixes them, so the loss is also given by position, in buckets that
double.

Standard errors are over documents, not over tokens or windows: losses within a document are
correlated, and errors over tokens would be too small. A text with too few documents is cut into
blocks, see intervals.py.

Not here: losses of the same tokens with growing context, see context.py.
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
from wordorder.evaluation.chunked import CHUNK, chunked_losses, largest_chunk
from wordorder.evaluation.intervals import Estimate, blocks_of, ratio
from wordorder.model import TokenModel, evaluating
from wordorder.numerals import counted
from wordorder.text.batches import NOT_COUNTED, evaluation_batches
from wordorder.text.objective import Objective
from wordorder.text.store import TokenStore

# Tokens whose logits are held at once: 134 MB with a vocabulary of 4,096.
TOKENS_PER_BATCH = 8192

FIRST_BUCKET = 16  # positions; smaller buckets would hold too few tokens


@dataclass(frozen=True)
class PositionLoss:
    """The loss at positions `first` to `last`, both inclusive; other fields as in `Loss`."""

    first: int
    last: int
    loss_nats: float
    standard_error: float | None
    tokens: int
    degrees_of_freedom: float | None = None


@dataclass(frozen=True)
class Loss:
    """A model's loss on a text.

    Args:
        loss_nats: mean per token, end-of-text tokens included.
        standard_error: of `loss_nats`, over documents, or over blocks of a text with few; None with
            only one.
        bits_per_byte: total bits over the UTF-8 bytes of the text, comparable across tokenizers;
            None for masked-token, which predicts a part of the text only, and for a tokenizer that
            does not decode to the same text.
        tokens: the number of predicted tokens.
        bytes: UTF-8 bytes of the whole text.
        windows: the number of windows.
        context_length: tokens in a window.
        by_position: one for each bucket with tokens.
        degrees_of_freedom: of the t-interval of `loss_nats`; None without an error.
        documents: the number in the text.
        blocks: the number of blocks used in place of documents; 0 if documents were used.
        answers_only: the text is of conversations: `tokens` and `bytes` are those of answers.
        cluster_sums, cluster_tokens: the total loss in nats, and the number of predicted tokens, of
            each document or block; empty for a mixture.
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
    answers_only: bool = False
    cluster_sums: tuple[float, ...] = ()
    cluster_tokens: tuple[int, ...] = ()


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
        model: a module that returns the losses of a `Batch`; beyond `CHUNK` tokens a `TokenModel`.
        store: the tokens, at least one window of them.
        context_length: tokens in a window; may exceed the trained length.
        isolate_documents: whether positions restart in each document and attention stays inside it.
        objective: the training objective of the model.
        mask_id: the mask token, for masked-token.
        progress: called with the fraction done, 0 to 1.

    Raises:
        BadInput: the store is shorter than one window.
    """
    if len(store) < context_length and store.answers is None:
        raise BadInput(
            f"the text is {counted(len(store), 'token')}, shorter than one window of "
            f"{context_length:,}: give more text, or a length of at most {len(store)}",
            code="evaluation.text-shorter-than-window",
        )
    edges = bucket_edges(context_length)
    rows = max(1, TOKENS_PER_BATCH // context_length)
    batches = evaluation_batches(
        store,
        context_length,
        rows,
        isolate_documents=isolate_documents,
        objective=objective,
        mask_id=mask_id,
    )
    starts = cluster_starts(store)
    sums, counts = (np.zeros((len(starts), len(edges) - 1)) for _ in range(2))
    windows = 0
    for batch, indices in batches:
        windows += len(indices)
        _add(sums, counts, _batch_losses(model, batch), starts, edges, indices)
        progress(min(1.0, windows * context_length / len(store)))
    return _summary(sums, counts, edges, store, context_length, objective, windows)


def change_of(first: Loss, second: Loss) -> Estimate:
    """Return the paired difference of two losses on the same windows, `second` minus `first`."""
    return ratio(np.subtract(second.cluster_sums, first.cluster_sums), first.cluster_tokens)


def bucket_edges(context_length: int) -> list[int]:
    """Return the edges of the buckets: 0, 16, 32, 64, ..., and the context length."""
    edges = [0]
    edge = FIRST_BUCKET
    while edge < context_length:
        edges.append(edge)
        edge *= 2
    return [*edges, context_length]


def cluster_starts(store: TokenStore) -> NDArray[np.int64]:
    """Return where each cluster begins: a document, or a block of a text with few documents."""
    sizes = store.sizes
    blocks = blocks_of(sizes)
    number = np.concatenate([np.arange(count) for count in blocks])
    size, count = np.repeat(sizes, blocks), np.repeat(blocks, blocks)
    return np.repeat(store.starts, blocks) + -(-number * size // count)


@torch.no_grad()
def _batch_losses(
    model: nn.Module, batch: Batch
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the losses, which of them count, and the positions, (batch, time) each."""
    device = next(model.parameters()).device
    batch = batch.to(device)
    tokens, targets, positions = batch.tokens, batch.targets, batch.positions
    assert targets is not None
    with evaluating(model):
        # Isolated documents and bidirectional models cannot be processed in chunks.
        chunk = largest_chunk(model, CHUNK)
        whole = tokens.shape[1] <= chunk or batch.documents is not None
        if not whole and isinstance(model, TokenModel) and model.config.causal:
            losses = chunked_losses(model, tokens, targets)
        else:
            losses = model(batch)
    if positions is None:
        positions = torch.arange(tokens.shape[1], device=device).expand_as(tokens)
    return losses.double().cpu(), (targets != NOT_COUNTED).cpu(), positions.cpu()


def _add(
    sums: NDArray[np.float64],
    counts: NDArray[np.float64],
    batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    starts: NDArray[np.int64],
    edges: list[int],
    indices: NDArray[np.int64],
) -> None:
    """Add the losses of a batch to the sums by cluster (rows) and bucket (columns).

    Args:
        indices: the index in the text of each target.
    """
    losses, is_counted, positions = (values.numpy() for values in batch)
    cluster = np.searchsorted(starts, indices[is_counted], side="right") - 1
    bucket = np.searchsorted(edges[1:-1], positions[is_counted], side="right")
    np.add.at(sums, (cluster, bucket), losses[is_counted])
    np.add.at(counts, (cluster, bucket), 1)


def _summary(
    sums: NDArray[np.float64],
    counts: NDArray[np.float64],
    edges: list[int],
    store: TokenStore,
    context_length: int,
    objective: Objective,
    windows: int,
) -> Loss:
    loss = ratio(sums.sum(1), counts.sum(1))
    buckets = []
    for column, first in enumerate(edges[:-1]):
        tokens = int(counts[:, column].sum())
        if tokens:
            mean, last = ratio(sums[:, column], counts[:, column]), edges[column + 1] - 1
            error = mean.standard_error, tokens, mean.degrees_of_freedom
            buckets.append(PositionLoss(first, last, mean.mean, *error))
    bits = float(sums.sum()) / math.log(2) / store.bytes
    documents = len(store.starts)
    return Loss(
        loss_nats=loss.mean,
        standard_error=loss.standard_error,
        bits_per_byte=bits if objective == "next-token" and store.lossless else None,
        tokens=int(counts.sum()),
        bytes=store.bytes,
        windows=windows,
        context_length=context_length,
        by_position=tuple(buckets),
        degrees_of_freedom=loss.degrees_of_freedom,
        documents=documents,
        blocks=len(sums) if len(sums) > documents else 0,
        answers_only=store.answers is not None,
        cluster_sums=tuple(sums.sum(1).tolist()),
        cluster_tokens=tuple(counts.sum(1).astype(int).tolist()),
    )
