"""Batches as a pure function of (seed, index): a resumed run continues with the next index.

The tokens form a ring: the first document follows the last one. Each epoch cuts the ring into
contiguous non-overlapping windows of `context_length` tokens, from a random offset, and takes each
window once in a random order. Both are drawn from (seed, epoch), so only the index has to be saved.

    tokens    ... x x E | a b c E | d e E | f g h ...     E: end of text, |: document boundary
    window            [E a b c] E  d e E                  input, for context_length 4
    targets            a b c E                            each token once, E included

A document starts with the end-of-text token before it, from which generation starts too.
Evaluation predicts every token exactly once; an epoch skips at most context_length - 1 tokens. With
`isolate_documents`, each document starts at position 0 and is predicted from itself alone.

Conversations are isolated always, and packed whole into windows (packing.py); only the tokens of
answers are targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from wordorder.batch import Batch, RowShare
from wordorder.errors import BadInput
from wordorder.text.objective import Objective
from wordorder.text.packing import Packing
from wordorder.text.store import TokenStore

NOT_COUNTED = -1

# Source: Devlin et al. 2019, BERT, section 3.1: of the chosen tokens 80% become the mask, 10% a
# random token, 10% are unchanged.
MASKED_SHARE, MASKED_OR_RANDOM_SHARE = 0.8, 0.9

EVALUATION_SEED = 0  # every model is evaluated with the same masks


class Batches:
    """Random batches of a token store; each epoch contains each window once.

    Args:
        store: the tokens.
        context_length: tokens in a window; the store must hold more.
        batch_size: windows in a batch.
        seed: seed of the order, the offsets and the masks; at least 0.
        isolate_documents: add document ids and restart positions in each document, so that packed
            documents do not attend to each other.
        objective: `next-token`, or `masked-token`, whose targets are the chosen tokens only.
        mask_id: id of the mask token, for masked-token.
        mask_fraction: share of tokens chosen as targets, between 0 and 1; BERT's 0.15.

    Raises:
        BadInput: the store is shorter than one context, or an argument is out of range.
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
                "the context length and the batch size must be at least 1, the seed at least 0",
                code="text.batch-arguments",
            )
        if len(store) <= context_length and store.answers is None:
            raise BadInput(
                f"the text has {len(store)} tokens, fewer than one context of {context_length} "
                "and the token after it: use more text, or a context of at most "
                f"{max(len(store) - 1, 1)}",
                code="text.shorter-than-context",
            )
        _check_objective(objective, mask_id, mask_fraction)
        self.packing = None if store.answers is None else Packing(store, context_length)
        self.store = store
        self.context_length = context_length
        self.batch_size = batch_size
        self.seed = seed
        self.isolate_documents = isolate_documents or self.packing is not None
        self.objective = objective
        self.mask_id = mask_id
        self.mask_fraction = mask_fraction
        self.windows_per_epoch = self.packing.rows if self.packing else len(store) // context_length
        self._epoch_starts = lru_cache(maxsize=2)(self._draw_epoch)

    def at(self, index: int) -> Batch:
        """Return the batch with this index; it depends only on the seed and the index."""
        return self.rows(*self._numbers(index))

    def share(self, index: int, rows: RowShare) -> tuple[Batch, int]:
        """Return some rows of `at(index)`, and the number of targets in all its rows.

        Only the tokens of these rows are read, and a few more to count masked targets.
        """
        return self.share_of(*self._numbers(index), is_of(rows, self.batch_size))

    def rows(self, number: NDArray[np.int64], draw: list[int]) -> Batch:
        """Return the rows with these increasing numbers, (batch,).

        Args:
            draw: seed of the masks.
        """
        window = self._window(self._starts(number))
        if self.objective == "next-token":
            return window.next_token()
        return window.masked_token(self._mask_draw(number, draw), self.mask_id)

    def share_of(
        self, number: NDArray[np.int64], draw: list[int], chosen: NDArray[np.bool_]
    ) -> tuple[Batch, int]:
        """Return the chosen rows of a batch, and the number of targets in all its rows.

        Args:
            chosen: (batch,), which rows to return.
        """
        starts = self._starts(number)
        window = self._window(starts[chosen])
        if self.objective == "next-token":
            if self.packing is not None:
                return window.next_token(), int(self.packing.targets[starts].sum())
            return window.next_token(), starts.size * self.context_length
        masks = self._mask_draw(number, draw)
        counted = self._count_masked(starts, masks)
        if not counted:  # the lowest draw of all rows is the only target, so all are read
            whole = self.rows(number, draw)
            assert whole.targets is not None
            return whole.map(lambda field: field[chosen]), int((whole.targets >= 0).sum())
        return window.masked_token(masks.of(chosen), self.mask_id, at_least_one=False), counted

    def epoch(self, index: int) -> float:
        """Return how many epochs come before this batch, as a float."""
        return index * self.batch_size / self.windows_per_epoch

    def _numbers(self, index: int) -> tuple[NDArray[np.int64], list[int]]:
        """Return the numbers of a batch's rows, and the seed of its masks."""
        numbers = index * self.batch_size + np.arange(self.batch_size)
        return numbers, [self.seed, index, 1]

    def _starts(self, number: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where the rows with these numbers start: tokens, or packed rows."""
        epochs, within = np.divmod(number, self.windows_per_epoch)  # (batch,) each
        # A batch may span two epochs, or many where the text is short.
        return np.concatenate(
            [self._epoch_starts(int(e))[within[epochs == e]] for e in np.unique(epochs)]
        )

    def _window(self, starts: NDArray[np.int64]) -> _Window:
        if self.packing is not None:
            places, padded = self.packing.places(starts)
        else:
            places, padded = starts[:, None] + np.arange(self.context_length), None
        return _Window(self.store, places, self.isolate_documents, padded)

    def _mask_draw(self, number: NDArray[np.int64], draw: list[int]) -> _MaskDraw:
        shape = (len(number), self.context_length)
        return _MaskDraw.drawn(draw, shape, self.store.vocabulary_size, self.mask_fraction)

    def _count_masked(self, starts: NDArray[np.int64], masks: _MaskDraw) -> int:
        """Return how many tokens are chosen as targets because of the fraction."""
        chosen = np.flatnonzero(masks.chance <= masks.fraction)
        row, column = np.divmod(chosen, self.context_length)
        if self.packing is not None:
            places, padded = self.packing.places(starts)
            places = places[row, column][~padded[row, column]]
        else:
            places = starts[row] + column
        return int((self.store.inputs(places) != self.store.end_of_text).sum())

    def _draw_epoch(self, epoch: int) -> NDArray[np.int64]:
        random = np.random.default_rng([self.seed, epoch, 0])
        if self.packing is not None:
            return random.permutation(self.windows_per_epoch)
        offset = random.integers(self.context_length)
        return offset + self.context_length * random.permutation(self.windows_per_epoch)


def is_of(rows: RowShare, size: int) -> NDArray[np.bool_]:
    """Return which rows of a batch of this size are in a share, (size,)."""
    return np.arange(size) % rows.count == rows.rank


def evaluation_batches(
    store: TokenStore,
    context_length: int,
    batch_size: int,
    *,
    isolate_documents: bool = False,
    objective: Objective = "next-token",
    mask_id: int | None = None,
    mask_fraction: float = 0.15,
) -> Iterator[tuple[Batch, NDArray[np.int64]]]:
    """Yield batches that cover the whole store once, with the index in it of each target.

    They are in order, without overlap. The first window starts with the end-of-text token before
    the first document, at position 0. Every token is a target exactly once (with masked-token: at
    most once), so the sum of losses divided by `store.bytes` gives bits per byte. The last window
    is padded with tokens that are not counted; the last batch may have fewer rows. Conversations
    are packed as in training. Indices are int64 (rows, time); those of padding have no meaning.
    """
    _check_objective(objective, mask_id, mask_fraction)
    packing = None if store.answers is None else Packing(store, context_length)
    count = packing.rows if packing else -(-len(store) // context_length)
    for number, begin in enumerate(range(0, count, batch_size)):
        rows = np.arange(begin, min(begin + batch_size, count))
        if packing is not None:
            places, padded = packing.places(rows)
        else:
            places = (rows * context_length - 1)[:, None] + np.arange(context_length)
            padded = places >= len(store) - 1
        window = _Window(store, places, isolate_documents or packing is not None, padded)
        if objective == "next-token":
            yield window.next_token(), places + 1
        else:
            masks = _MaskDraw.drawn(
                [EVALUATION_SEED, number], places.shape, store.vocabulary_size, mask_fraction
            )
            yield window.masked_token(masks, mask_id), places


class _MaskDraw(NamedTuple):
    """The random numbers of masked tokens, (rows, context_length) each.

    Args:
        chance: float64 from 0 to 1; tokens up to `fraction` are targets.
        fate: float64 from 0 to 1, what replaces a target.
        other: int64, the random tokens.
        fraction: share of tokens chosen as targets.
    """

    chance: NDArray[np.float64]
    fate: NDArray[np.float64]
    other: NDArray[np.int64]
    fraction: float

    @classmethod
    def drawn(
        cls, seed: list[int], shape: tuple[int, ...], vocabulary_size: int, fraction: float
    ) -> _MaskDraw:
        random = np.random.default_rng(seed)
        chance, fate = random.random(shape), random.random(shape)
        return cls(chance, fate, random.integers(vocabulary_size, size=shape), fraction)

    def of(self, chosen: NDArray[np.bool_]) -> _MaskDraw:
        """Return the numbers of some rows."""
        return _MaskDraw(self.chance[chosen], self.fate[chosen], self.other[chosen], self.fraction)


class _Window:
    """Rows of tokens of the ring, and the tokens after them.

    Shapes: `places` (indices of `tokens`), `tokens` and `targets` int64 (rows, context_length),
    `padded` bool.
    """

    def __init__(
        self,
        store: TokenStore,
        places: NDArray[np.int64],
        isolate: bool,
        padded: NDArray[np.bool_] | None = None,
    ) -> None:
        self.store = store
        self.isolate = isolate
        self.padded = padded if padded is not None and padded.any() else None
        self.places = places
        self.tokens, self.targets = store.following(places)

    def next_token(self) -> Batch:
        targets = self.targets
        if self.store.answers is not None:
            counted = self.store.answers[(self.places + 1) % len(self.store)]
            targets = np.where(counted, targets, NOT_COUNTED)
        if self.padded is not None:
            targets = np.where(self.padded, NOT_COUNTED, targets)
        return self._batch(self.tokens, targets)

    def masked_token(
        self, masks: _MaskDraw, mask_id: int | None, at_least_one: bool = True
    ) -> Batch:
        assert mask_id is not None  # see _check_objective
        tokens, chance, most = self.tokens, masks.chance.copy(), masks.fraction
        # End-of-text is never a target: the start of the next document would reveal it.
        chance[tokens == self.store.end_of_text] = 1
        if self.padded is not None:
            chance[self.padded] = 1
        if at_least_one:  # or a small batch would have no loss
            most = max(most, min(chance.min(), 1 - 1e-9))
        chosen = chance <= most
        replacement = np.where(masks.fate < MASKED_SHARE, mask_id, masks.other)
        hidden = np.where(chosen & (masks.fate < MASKED_OR_RANDOM_SHARE), replacement, tokens)
        return self._batch(hidden, np.where(chosen, tokens, NOT_COUNTED), bidirectional=True)

    def _batch(
        self, tokens: NDArray[np.int64], targets: NDArray[np.int64], bidirectional: bool = False
    ) -> Batch:
        documents = positions = None
        if self.isolate:
            documents, positions = self._documents()
        elif bidirectional and self.padded is not None:
            # Without document ids a bidirectional model would attend to the padding.
            documents = np.zeros_like(tokens)
        if documents is not None and self.padded is not None:
            # In documents -1 is padding, as in targets it is a token that is not counted.
            documents = np.where(self.padded, NOT_COUNTED, documents)
        return Batch(
            _tensor(tokens),
            _tensor(targets),
            None if documents is None else _tensor(documents),
            None if positions is None else _tensor(positions),
            consecutive=True,
        )

    def _documents(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return document ids within each row, and positions that restart at each document.

        tokens     b c E d e E f        E opens the document after it
        ids        0 0 1 1 1 2 2
        positions  0 1 0 1 2 0 1        the cut first document starts at 0 too
        """
        opening = (self.places + 1) % len(self.store)
        starts = self.store.starts
        nearest = np.searchsorted(starts, opening, side="right") - 1
        opens = starts[nearest] == opening
        column = np.arange(opens.shape[1])
        last = np.maximum.accumulate(np.where(opens, column, 0), axis=1)
        return np.cumsum(opens, axis=1), column - last


def _tensor(array: NDArray[np.int64]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def _check_objective(objective: str, mask_id: int | None, mask_fraction: float) -> None:
    if objective not in ("next-token", "masked-token"):
        raise BadInput(
            f"unknown objective {objective!r}: use next-token or masked-token",
            code="text.unknown-objective",
        )
    if objective == "masked-token" and mask_id is None:
        raise BadInput(
            "masked-token needs a tokenizer with a mask token: call make_tokenizer with mask=True",
            code="text.no-mask-token",
        )
    if not 0 < mask_fraction < 1:
        raise BadInput(
            f"mask fraction {mask_fraction:g} is not between 0 and 1: BERT uses 0.15",
            code="text.mask-fraction",
        )
