"""Batches of a weighted mixture of texts.

Weights are shares of the training tokens. Rows are assigned to parts by the divisor method of
Sainte-Laguë, so after any number of rows each part has had its share to within about one row, and
the part of a row depends only on the row's number. Within a part, the rows are those of `Batches`,
with the part's own epochs.

    weights 0.7, 0.3    rows A B A A A B A A B A | A B A ...
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wordorder.batch import Batch, RowShare
from wordorder.text.batches import Batches, is_of


def dealt(
    weights: Sequence[float], first: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the part of each of some rows, and the number of the row within its part.

    Part p has its row k at the time (k + 1/2) / weight, and rows are numbered in order of time.

    Args:
        weights: their sum is 1.
        first: number of the first row.
        count: number of rows.
    """
    events: list[tuple[float, int, int]] = []
    before = 0
    margin = len(weights) + 1  # row n has a time within half the number of parts of n
    for part, weight in enumerate(weights):
        if not weight:
            continue
        begin = max(0, math.floor(weight * (first - margin)) - 1)
        end = math.ceil(weight * (first + count + margin)) + 1
        before += begin
        events += [((k + 0.5) / weight, part, k) for k in range(begin, end)]
    events.sort()
    chosen = events[first - before : first - before + count]
    return np.array([e[1] for e in chosen]), np.array([e[2] for e in chosen])


class MixedBatches:
    """Batches whose rows are dealt to several texts by weight.

    Args:
        parts: the batches of each text, of one context length and objective.
        weights: the share of each; their sum is 1.
        batch_size: rows in a batch.
        seed: seed of the masks.
    """

    def __init__(
        self, parts: Sequence[Batches], weights: Sequence[float], batch_size: int, seed: int
    ) -> None:
        self.parts, self.weights = tuple(parts), tuple(weights)
        self.batch_size, self.seed = batch_size, seed
        self.isolate_documents = any(part.isolate_documents for part in parts)

    def at(self, index: int) -> Batch:
        """Return the batch with this index; it depends only on the seed and the index."""
        batches, order = [], []
        for part, rows, numbers, draw in self._dealt(index):
            batches.append(part.rows(numbers, draw))
            order.append(rows)
        return _in_order(batches, order)

    def share(self, index: int, rows: RowShare) -> tuple[Batch, int]:
        """Return some rows of `at(index)`, and the number of targets in all its rows."""
        batches, order, counted = [], [], 0
        chosen = is_of(rows, self.batch_size)
        for part, of_part, numbers, draw in self._dealt(index):
            own, targets = part.share_of(numbers, draw, chosen[of_part])
            batches.append(own)
            order.append(of_part[chosen[of_part]])
            counted += targets
        return _in_order(batches, order), counted

    def _dealt(
        self, index: int
    ) -> Iterator[tuple[Batches, NDArray[np.int64], NDArray[np.int64], list[int]]]:
        """Yield each part of a batch, its rows there and within the part, and its masks' seed."""
        part, within = dealt(self.weights, index * self.batch_size, self.batch_size)
        for number in np.unique(part):
            rows = np.flatnonzero(part == number)
            yield self.parts[number], rows, within[rows], [self.seed, index, 1, int(number)]

    def epoch(self, index: int) -> float:
        """Return the largest number of epochs of any part before this batch."""
        rows = index * self.batch_size
        parts = zip(self.parts, self.weights, strict=True)
        return max(rows * weight / part.windows_per_epoch for part, weight in parts)


def _in_order(batches: Sequence[Batch], order: Sequence[NDArray[np.int64]]) -> Batch:
    """Return the rows of several batches in the order of these numbers."""
    back = torch.from_numpy(np.argsort(np.concatenate(order)))
    fields: list[Any] = [
        torch.cat(each)[back] if isinstance(each[0], torch.Tensor) else each[0]
        for each in zip(*batches, strict=True)
    ]
    return Batch(*fields)
