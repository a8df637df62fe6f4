"""Loss of tokens that all have much before them: windows that move by less than their length.

Whole windows ask for their first token with nothing before it and for their last with all they
hold. Here windows begin `stride` tokens apart and each is asked for its last `stride` tokens alone,
so that every token is scored once, with length - stride + 1 to length tokens before it. The first
length - stride tokens of a text have fewer: they are left out, where Hugging Face's guide to
perplexity scores the first window whole. The two kinds of windows score other tokens with other
contexts, and their losses are no two values of one thing.

It reads the text length / stride times.

Errors are those of documents, as they are for whole windows.

Not here: whole windows: see loss.py. The same tokens with growing context: see context.py.
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
from wordorder.evaluation.intervals import ratio
from wordorder.evaluation.loss import TOKENS_PER_BATCH, cluster_starts
from wordorder.evaluation.streaming import last_hidden
from wordorder.evaluation.windows import texts
from wordorder.model import TokenModel, evaluating
from wordorder.text.batches import NOT_COUNTED
from wordorder.text.store import TokenStore


@dataclass(frozen=True)
class SlidingLoss:
    """What a model scored on the tokens of a text that have much before them.

    Args:
        loss_nats: per token, the end of each document included.
        standard_error: of `loss_nats`, over documents, or over blocks of a text with few; None
            where there is only one.
        bits_per_byte: all bits over `bytes`; None where those are not known.
        tokens: how many were scored.
        left_out: how many were not, too near the beginning.
        bytes: UTF-8 bytes that the scored tokens stand for; None where not known to be exact.
        windows: how many.
        context_length: tokens in a window.
        stride: how many of them, the last ones, are asked for.
        fewest_before: how many tokens each scored one has before it at least, the end-of-text
            that opens the text counted.
        degrees_of_freedom: of the t-interval of `loss_nats`; None where there is no error.
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
    """Measure a model's loss on the tokens that have much before them.

    Args:
        model: a causal one, transformer or GRU.
        store: the tokens; windows go through them as in training.
        context_length: tokens in a window; past the trained length too.
        stride: by how many windows move, from 1 to `context_length`.
        isolate_documents: windows lie inside documents, which are each a text of their own.
        bytes_per_token: (vocabulary,) UTF-8 bytes, for bits per byte.
        progress: called with the share that is done, 0 to 1.

    Raises:
        BadInput: a stride out of range, a bidirectional model, no token with so much before it.
    """
    check_stride(stride, context_length)
    if not model.config.causal:
        raise BadInput("a bidirectional model sees the tokens it would be asked for")
    begins, asked = _windows(store, context_length, stride, isolate_documents)
    starts = cluster_starts(store)
    sums, counts = np.zeros(len(starts)), np.zeros(len(starts))
    scored, done = 0, 0
    for places, counted in _batches(store, begins, asked, context_length, stride):
        tokens, following = store.windows(places)
        losses = _losses(model, tokens, following, counted)
        cluster = np.searchsorted(starts, places[:, -stride:][counted], side="right") - 1
        np.add.at(sums, cluster, losses[counted])
        np.add.at(counts, cluster, 1)
        if bytes_per_token is not None:
            scored += int(bytes_per_token[following[:, -stride:][counted]].sum())
        done += len(tokens)
        progress(done / len(begins))
    total, loss = float(sums.sum()), ratio(sums, counts)
    # Tokens that do not add up to the whole text do not to a part of it either.
    spelt = None if bytes_per_token is None else bytes_per_token[store.tokens].sum()
    exact = store.lossless and spelt == store.bytes
    return SlidingLoss(
        loss_nats=loss.mean,
        standard_error=loss.standard_error,
        bits_per_byte=total / math.log(2) / scored if exact and scored else None,
        tokens=int(asked.sum()),
        left_out=len(store) - int(asked.sum()),
        bytes=scored if exact else None,
        windows=len(begins),
        context_length=context_length,
        stride=stride,
        fewest_before=context_length - stride + 1,
        degrees_of_freedom=loss.degrees_of_freedom,
    )


def check_stride(stride: int, context_length: int) -> None:
    """Raise where windows cannot move by so much.

    Raises:
        BadInput: with what a stride can be.
    """
    if not 1 <= stride <= context_length:
        raise BadInput(
            f"a stride of {stride:,}: windows of {context_length:,} tokens move by at least 1 and "
            f"at most {context_length:,}, or tokens between them would be left out"
        )


def _windows(
    store: TokenStore, length: int, stride: int, isolate: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where windows begin, and how many tokens each is asked for: `stride`, or the rest."""
    firsts, sizes = texts(store, not isolate)
    askable = np.maximum(0, sizes - (length - stride))
    counts = -(-askable // stride)
    if not counts.sum():
        kind, other = "a text", "give more text, a shorter length or a larger stride"
        has = f"this one has {len(store):,}"
        if isolate:
            kind, has = "a document", f"the longest has {sizes.max():,}"
            other = "give longer ones, a shorter length, a larger stride, or --no-isolate-documents"
        raise BadInput(
            f"windows of {length:,} that move by {stride:,} need {kind} longer than "
            f"{length - stride:,} tokens, and {has}: {other}"
        )
    number = np.concatenate([np.arange(count) for count in counts])
    begins = np.repeat(firsts, counts) + stride * number
    return begins, np.minimum(stride, np.repeat(askable, counts) - stride * number)


def _batches(
    store: TokenStore,
    begins: NDArray[np.int64],
    asked: NDArray[np.int64],
    length: int,
    stride: int,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """Yield windows' places (rows, length + 1) and which last tokens count (rows, stride)."""
    rows = max(1, TOKENS_PER_BATCH // length)
    for first in range(0, len(begins), rows):
        part = slice(first, first + rows)
        # What follows the last token that counts is never seen by it.
        places = begins[part, None] + np.arange(length + 1)
        yield places, np.arange(stride) < asked[part, None]


@torch.no_grad()
def _losses(
    model: TokenModel,
    tokens: NDArray[np.int64],
    following: NDArray[np.int64],
    counted: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return the loss of each window's last tokens, (rows, stride)."""
    device = next(model.parameters()).device
    stride = counted.shape[1]
    targets = np.where(counted, following[:, -stride:], NOT_COUNTED)
    with evaluating(model):
        hidden = last_hidden(model, torch.from_numpy(tokens).to(device), stride)
        losses = model.target_losses(hidden, torch.from_numpy(targets).to(device))
    return losses.double().cpu().numpy()
