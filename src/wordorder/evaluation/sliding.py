"""Loss with sliding windows, in which every token has a long context.

In disjoint windows the first token has no context and the last a whole window. Here windows begin
`stride` tokens apart and only the last `stride` tokens of each are targets, so that every token is
predicted once, from length - stride + 1 to length tokens:

    |---- context ----|targets|
            |---- context ----|targets|
                    |---- context ----|targets|

The first length - stride tokens of a text have less context and are left out; Hugging Face's guide
to perplexity scores the first window whole. The loss is not comparable with that of disjoint
windows, which have other targets and contexts. It costs length / stride passes over the text.

Standard errors are over documents, as for disjoint windows.

Not here: disjoint windows, see loss.py; the same tokens with growing context, see context.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wordorder.errors import BadInput
from wordorder.evaluation.chunked import last_hidden
from wordorder.evaluation.intervals import ratio
from wordorder.evaluation.loss import TOKENS_PER_BATCH, cluster_starts
from wordorder.evaluation.windows import check_causal, sequences
from wordorder.model import TokenModel, evaluating
from wordorder.text.batches import NOT_COUNTED
from wordorder.text.store import TokenStore


@dataclass(frozen=True)
class SlidingLoss:
    """A model's loss on the tokens of a text that have a long context.

    Args:
        loss_nats: mean per target token, end-of-text tokens included.
        standard_error: of `loss_nats`, over documents, or over blocks of a text with few; None with
            only one.
        bits_per_byte: total bits over `bytes`; None if those are unknown.
        tokens: the number of target tokens.
        left_out: the number of tokens without enough context.
        bytes: UTF-8 bytes of the target tokens; None if not known exactly.
        windows: the number of windows.
        context_length: tokens in a window.
        stride: target tokens at the end of each window.
        fewest_before: the fewest tokens before a target, the end-of-text at the beginning of the
            text included.
        degrees_of_freedom: of the t-interval of `loss_nats`; None without an error.
    """

    loss_nats: float
    standard_error: float | None
    bits_per_byte: float | None
    tokens: int
    left_out: int
    bytes: int | None
    windows: int
    context_length: int
    stride: int
    fewest_before: int
    degrees_of_freedom: float | None = None


def sliding_loss(
    model: TokenModel,
    store: TokenStore,
    *,
    context_length: int,
    stride: int,
    isolate_documents: bool = False,
    bytes_per_token: NDArray[np.int64] | None = None,
    progress: Callable[[float], Any] = lambda _: None,
) -> SlidingLoss:
    """Measure a model's loss on the tokens that have a long context.

    Args:
        model: a causal transformer or GRU.
        store: the tokens.
        context_length: tokens in a window; may exceed the trained length.
        stride: the distance between windows, from 1 to `context_length`.
        isolate_documents: whether windows stay inside documents.
        bytes_per_token: (vocabulary,) UTF-8 bytes, for bits per byte.
        progress: called with the fraction done, 0 to 1.

    Raises:
        BadInput: the stride is out of range, the model is bidirectional, or no token has enough
            context.
    """
    check_stride(stride, context_length)
    check_causal(model)
    begins, target_counts = _windows(store, context_length, stride, isolate_documents)
    starts = cluster_starts(store)
    sums, counts = np.zeros(len(starts)), np.zeros(len(starts))
    scored, done = 0, 0
    for indices, counted in _batches(store, begins, target_counts, context_length, stride):
        tokens, following = store.windows(indices)
        losses = _losses(model, tokens, following, counted)
        cluster = np.searchsorted(starts, indices[:, -stride:][counted], side="right") - 1
        np.add.at(sums, cluster, losses[counted])
        np.add.at(counts, cluster, 1)
        if bytes_per_token is not None:
            scored += int(bytes_per_token[following[:, -stride:][counted]].sum())
        done += len(tokens)
        progress(done / len(begins))
    total, loss = float(sums.sum()), ratio(sums, counts)
    # Byte counts are exact for a part of the text only if they add up for the whole text.
    whole = None if bytes_per_token is None else bytes_per_token[store.tokens].sum()
    exact = store.lossless and whole == store.bytes
    return SlidingLoss(
        loss_nats=loss.mean,
        standard_error=loss.standard_error,
        bits_per_byte=total / math.log(2) / scored if exact and scored else None,
        tokens=int(target_counts.sum()),
        left_out=len(store) - int(target_counts.sum()),
        bytes=scored if exact else None,
        windows=len(begins),
        context_length=context_length,
        stride=stride,
        fewest_before=context_length - stride + 1,
        degrees_of_freedom=loss.degrees_of_freedom,
    )


def check_stride(stride: int, context_length: int) -> None:
    """Check that a stride fits the window.

    Raises:
        BadInput: the stride is below 1 or above `context_length`.
    """
    if not 1 <= stride <= context_length:
        raise BadInput(
            f"a stride of {stride:,} is out of range: it must be between 1 and the window's "
            f"{context_length:,} tokens, or tokens between windows would be left out",
            code="evaluation.stride-out-of-range",
        )


def _windows(
    store: TokenStore, length: int, stride: int, isolate: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where windows begin, and the number of targets of each: `stride`, or the rest."""
    firsts, sizes = sequences(store, not isolate)
    available = np.maximum(0, sizes - (length - stride))
    counts = -(-available // stride)
    if not counts.sum():
        kind, other = "a text", "give more text, a shorter length or a larger stride"
        longest = f"this one has {len(store):,}"
        if isolate:
            kind, longest = "a document", f"the longest has {sizes.max():,}"
            other = "give longer ones, a shorter length, a larger stride, or "
            other += "--isolate-documents False"
        raise BadInput(
            f"windows of {length:,} tokens with a stride of {stride:,} need {kind} longer than "
            f"{length - stride:,} tokens, and {longest}: {other}",
            code="evaluation.text-too-short-to-slide",
        )
    number = np.concatenate([np.arange(count) for count in counts])
    begins = np.repeat(firsts, counts) + stride * number
    return begins, np.minimum(stride, np.repeat(available, counts) - stride * number)


def _batches(
    store: TokenStore,
    begins: NDArray[np.int64],
    target_counts: NDArray[np.int64],
    length: int,
    stride: int,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """Yield token indices (rows, length + 1) and which last tokens are targets (rows, stride)."""
    rows = max(1, TOKENS_PER_BATCH // length)
    for first in range(0, len(begins), rows):
        part = slice(first, first + rows)
        # A window may reach beyond the last target: causal attention does not see that far.
        indices = begins[part, None] + np.arange(length + 1)
        yield indices, np.arange(stride) < target_counts[part, None]


@torch.no_grad()
def _losses(
    model: TokenModel,
    tokens: NDArray[np.int64],
    following: NDArray[np.int64],
    counted: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return the losses of each window's last tokens, (rows, stride)."""
    device = next(model.parameters()).device
    stride = counted.shape[1]
    targets = np.where(counted, following[:, -stride:], NOT_COUNTED)
    with evaluating(model):
        hidden = last_hidden(model, torch.from_numpy(tokens).to(device), stride)
        losses = model.target_losses(hidden, torch.from_numpy(targets).to(device))
    return losses.double().cpu().numpy()
