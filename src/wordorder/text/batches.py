"""Batches as a pure function of (seed, index), so that resuming is going on with the next index.

The tokens are a ring: the last document's end is followed by the first document. An epoch lays
windows of `context_length` side by side around the ring, from an offset drawn for this epoch, and
takes each once in an order drawn for this epoch. There is nothing to save but the index.

A document opens with the end-of-text token before it, which is its position 0: every token, the
first and the ending one included, is then predicted exactly once from its own document, and a
prompt that starts with end-of-text is what training has seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from wordorder.batch import Batch
from wordorder.errors import BadInput
from wordorder.text.objective import Objective
from wordorder.text.store import TokenStore

NOT_COUNTED = -1

# Source: Devlin et al. 2019, BERT, section 3.1: of the chosen tokens 80% become the mask, 10% a
# random token, 10% stay.
MASKED_SHARE, MASKED_OR_RANDOM_SHARE = 0.8, 0.9

EVALUATION_SEED = 0  # the masks of an evaluation are the same for every model


class Batches:
    """Random batches of a store, each window once an epoch.

    Args:
        store: the tokens.
        context_length: tokens in a window; the store must hold more.
        batch_size: windows in a batch.
        seed: what the order, the offsets and the masks are drawn from; at least 0.
        isolate_documents: give document ids and positions that restart, so that packed documents
            do not see each other.
        objective: `next-token`, or `masked-token`, where only chosen tokens are targets.
        mask_id: the token that hides another, for masked-token.
        mask_fraction: share of tokens chosen, between 0 and 1; BERT's 0.15.

    Raises:
        BadInput: where the store is shorter than one context.
    """

    def __init__(
        self,
        store: TokenStore,
        *,
        context_length: int,
        batch_size: int,
        seed: int,
        isolate_documents: bool = False,
        objective: Objective = "next-token",
        mask_id: int | None = None,
        mask_fraction: float = 0.15,
    ) -> None:
        if context_length < 1 or batch_size < 1 or seed < 0:
            raise BadInput(
                f"context length {context_length}, batch size {batch_size} and seed {seed}: "
                "the first two are at least 1, the seed at least 0"
            )
        if len(store) <= context_length:
            raise BadInput(
                f"the text is {len(store)} tokens, shorter than one context of {context_length} "
                "and the token after it: give more text, or a context of at most "
                f"{max(len(store) - 1, 1)}"
            )
        _check_objective(objective, mask_id, mask_fraction)
        self.store = store
        self.context_length = context_length
        self.batch_size = batch_size
        self.seed = seed
        self.isolate_documents = isolate_documents
        self.objective = objective
        self.mask_id = mask_id
        self.mask_fraction = mask_fraction
        self.windows_per_epoch = len(store) // context_length
        self._epoch_starts = lru_cache(maxsize=2)(self._draw_epoch)

    def at(self, index: int) -> Batch:
        """The batch with this number; the same for the same seed, whatever came before."""
        number = index * self.batch_size + np.arange(self.batch_size)
        epochs, within = np.divmod(number, self.windows_per_epoch)
        starts = np.concatenate(
            [self._epoch_starts(int(e))[within[epochs == e]] for e in np.unique(epochs)]
        )
        window = _Window(self.store, starts, self.context_length, self.isolate_documents)
        if self.objective == "next-token":
            return window.next_token()
        random = np.random.default_rng([self.seed, index, 1])
        return window.masked_token(random, self.mask_id, self.mask_fraction)

    def epoch(self, index: int) -> float:
        """How many times the text has been gone through before this batch."""
        return index * self.batch_size / self.windows_per_epoch

    def _draw_epoch(self, epoch: int) -> NDArray[np.int64]:
        random = np.random.default_rng([self.seed, epoch, 0])
        offset = random.integers(self.context_length)
        return offset + self.context_length * random.permutation(self.windows_per_epoch)


def evaluation_windows(
    store: TokenStore,
    context_length: int,
    batch_size: int,
    *,
    isolate_documents: bool = False,
    objective: Objective = "next-token",
    mask_id: int | None = None,
    mask_fraction: float = 0.15,
) -> Iterator[Batch]:
    """Batches that go through the whole store once, in order, without overlap.

    The first window reads the end-of-text before the first document, its position 0. Every token is
    a target exactly once (for masked-token: may be), so that the sum of losses over `store.bytes`
    is bits per byte. The last window is filled up with tokens that are not counted; the last batch
    has fewer rows where windows run out.
    """
    _check_objective(objective, mask_id, mask_fraction)
    starts = np.arange(-1, len(store) - 1, context_length)
    for number, begin in enumerate(range(0, len(starts), batch_size)):
        rows = starts[begin : begin + batch_size]
        padded = rows[:, None] + np.arange(context_length) >= len(store) - 1
        window = _Window(store, rows, context_length, isolate_documents, padded)
        if objective == "next-token":
            yield window.next_token()
        else:
            random = np.random.default_rng([EVALUATION_SEED, number])
            yield window.masked_token(random, mask_id, mask_fraction)


class _Window:
    """Rows of consecutive tokens of the ring, one longer than the context."""

    def __init__(
        self,
        store: TokenStore,
        starts: NDArray[np.int64],
        context_length: int,
        isolate: bool,
        padded: NDArray[np.bool_] | None = None,
    ) -> None:
        self.store = store
        self.isolate = isolate
        self.padded = padded if padded is not None and padded.any() else None
        self.places = (starts[:, None] + np.arange(context_length + 1)) % len(store)
        self.tokens, self.targets = store.windows(self.places)

    def next_token(self) -> Batch:
        targets = self.targets
        if self.padded is not None:
            targets = np.where(self.padded, NOT_COUNTED, targets)
        return self._batch(self.tokens, targets)

    def masked_token(
        self, random: np.random.Generator, mask_id: int | None, fraction: float
    ) -> Batch:
        tokens = self.tokens
        draw = random.random(tokens.shape)
        # An end of text is not guessed: what comes after it would give it away.
        draw[tokens == self.store.end_of_text] = 1
        if self.padded is not None:
            draw[self.padded] = 1
        # At least one, or a small batch would have no loss at all.
        chosen = draw <= max(fraction, min(draw.min(), 1 - 1e-9))
        fate = random.random(tokens.shape)
        other = random.integers(self.store.vocabulary_size, size=draw.shape)
        replacement = np.where(fate < MASKED_SHARE, mask_id, other)
        hidden = np.where(chosen & (fate < MASKED_OR_RANDOM_SHARE), replacement, tokens)
        return self._batch(hidden, np.where(chosen, tokens, NOT_COUNTED), looks_ahead=True)

    def _batch(
        self, tokens: NDArray[np.int64], targets: NDArray[np.int64], looks_ahead: bool = False
    ) -> Batch:
        documents = positions = None
        if self.isolate:
            documents, positions = self._documents()
        elif looks_ahead and self.padded is not None:
            # Without ids a model that sees both ways would read the padding.
            documents = np.zeros_like(tokens)
        if documents is not None and self.padded is not None:
            documents = np.where(self.padded, NOT_COUNTED, documents)
        tensors = (_tensor(each) for each in (tokens, targets, documents, positions))
        return Batch(*tensors, consecutive=True)

    def _documents(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids counted within each row, and positions from each document's opening end-of-text."""
        opening = (self.places[:, :-1] + 1) % len(self.store)
        starts = self.store.starts
        nearest = np.searchsorted(starts, opening, side="right") - 1
        opens = starts[nearest] == opening
        column = np.arange(opens.shape[1])
        last = np.maximum.accumulate(np.where(opens, column, 0), axis=1)
        return np.cumsum(opens, axis=1), column - last


def _tensor(array: NDArray[np.int64] | None) -> torch.Tensor | None:
    return None if array is None else torch.from_numpy(np.ascontiguousarray(array))


def _check_objective(objective: str, mask_id: int | None, mask_fraction: float) -> None:
    if objective not in ("next-token", "masked-token"):
        raise BadInput(f"unknown objective {objective!r}: it is next-token or masked-token")
    if objective == "masked-token" and mask_id is None:
        raise BadInput("masked-token needs a tokenizer with a mask token: make it with mask=True")
    if not 0 < mask_fraction < 1:
        raise BadInput(f"mask fraction {mask_fraction:g} is not between 0 and 1: BERT's is 0.15")
