"""Packs whole conversations into rows: none is cut, and each is read from its own beginning.

    row 0   E u u a a   E u a a   .      E: end of text before a document, as input
    targets . . a a E   . a a E   .      .: not counted

Conversations are placed once, the longest first, each in the row with the least room that holds it
(best-fit decreasing). An epoch takes the rows in a random order, so their number is the same in
each epoch and a batch is a function of the seed and its index alone.

Source: Krell et al. 2021, "Efficient Sequence Packing without Cross-contamination", section 3.1.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wordorder.errors import BadInput
from wordorder.text.store import TokenStore


class Packing:
    """The rows of a store of conversations.

    Args:
        store: the tokens; no document is longer than `context_length`.
        context_length: tokens in a row.

    Attributes:
        rows: number of rows.

    Raises:
        BadInput: a document is longer.
    """

    def __init__(self, store: TokenStore, context_length: int) -> None:
        longest = int(store.sizes.max())
        if longest > context_length:
            raise BadInput(
                f"a conversation has {longest:,} tokens, more than a context of "
                f"{context_length:,}: cut it, or use a longer context",
                code="text.conversation-too-long",
            )
        self.store, self.context_length = store, context_length
        row_of = _best_fit(store.sizes, context_length)
        self.rows = int(row_of.max()) + 1
        self._documents = np.argsort(row_of, kind="stable")  # row after row
        self._first = np.searchsorted(row_of[self._documents], np.arange(self.rows + 1))

    @cached_property
    def targets(self) -> NDArray[np.int64]:
        """Number of targets in each row, (rows,)."""
        answers = np.asarray(self.store.answers)
        counts = np.add.reduceat(answers, self.store.starts, dtype=np.int64)
        return np.add.reduceat(counts[self._documents], self._first[:-1])

    def places(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the indices of input tokens, and which are padding, (rows, context_length)."""
        shape = len(rows), self.context_length
        places, padded = np.zeros(shape, np.int64), np.ones(shape, np.bool_)
        starts, sizes = self.store.starts, self.store.sizes
        for number, row in enumerate(rows):
            end = 0
            for document in self._documents[self._first[row] : self._first[row + 1]]:
                begin, end = end, end + int(sizes[document])
                # Each token is read one index before it is a target.
                places[number, begin:end] = starts[document] - 1 + np.arange(end - begin)
            padded[number, :end] = False
            places[number, end:] = places[number, end - 1]
        return places, padded


def _best_fit(sizes: NDArray[np.int64], capacity: int) -> NDArray[np.int64]:
    """Return the row of each document."""
    row_of = np.zeros(len(sizes), np.int64)
    with_room: dict[int, list[int]] = {}  # rows by the room that is left
    rooms: list[int] = []  # the keys of `with_room`, in order
    rows = 0
    for document in np.argsort(-sizes, kind="stable"):
        size = int(sizes[document])
        place = bisect_left(rooms, size)
        if place < len(rooms):
            room = rooms[place]
            row = with_room[room].pop()
            if not with_room[room]:
                del with_room[room], rooms[place]
        else:
            room, row, rows = capacity, rows, rows + 1
        row_of[document] = row
        if left := room - size:
            if left not in with_room:
                with_room[left] = []
                insort(rooms, left)
            with_room[left].append(row)
    return row_of
