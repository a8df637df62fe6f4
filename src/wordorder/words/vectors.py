"""Word vectors: a name and a row of numbers for each word, and what lies near what.

Near means a small angle: the cosine of two vectors, whatever their lengths. The matrix may lie
in a file that is mapped into memory, so nothing here copies it or writes to it.

Imports no torch, so that a question about a file of vectors is answered at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wordorder.errors import BadInput
from wordorder.text.words import normalized

Floats = NDArray[np.float32]

# Words that a misspelt one is compared with: the first, which files have most frequent first. Of
# 400,000 it would take four seconds, and find rarer ones.
MOST_COMPARED = 50_000


@dataclass(frozen=True)
class Neighbour:
    """A word and how near it is: its cosine, or the score of an analogy."""

    word: str
    score: float


@dataclass(frozen=True, eq=False)
class Vectors:
    """Words, each with a vector.

    Args:
        source: what messages call them.
        names: the words; where one stands twice the first counts.
        matrix: (words, dimensions) float32.
        norms: (words,) float32, the lengths of the vectors.
        absent: says in a few words why one is not among them, or nothing.
    """

    source: str
    names: Sequence[str]
    matrix: Floats
    norms: Floats
    absent: Callable[[str], str] = lambda _: ""

    @classmethod
    def of(
        cls,
        source: str,
        names: Sequence[str],
        matrix: Floats,
        absent: Callable[[str], str] = lambda _: "",
    ) -> Vectors:
        """Return vectors with their lengths measured."""
        return cls(source, names, matrix, lengths(matrix), absent)

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def index(self) -> dict[str, int]:
        """The row of each word, composed (NFC)."""
        last_first = range(len(self.names) - 1, -1, -1)
        return dict(zip(map(normalized, reversed(self.names)), last_first, strict=True))

    def first(self, count: int) -> Vectors:
        """Return the first words only, which files have most frequent first."""
        return replace(
            self, names=self.names[:count], matrix=self.matrix[:count], norms=self.norms[:count]
        )

    def find(self, word: str) -> int | None:
        """Return the row of a word as it is written, or in lower case; None where neither is."""
        word = normalized(word)
        found = self.index.get(word)
        return self.index.get(word.lower()) if found is None else found

    def row(self, word: str) -> int:
        """Return the row of a word.

        Raises:
            BadInput: a word that has none, with the nearest spelt that has one.
        """
        found = self.find(word)
        if found is None:
            near = self.spelt_like(word)
            hint = f"the nearest spelt is {near[0]!r}" if near else "and none is spelt like it"
            raise BadInput(f"{self.source} has no word {word!r}{self.absent(word)}; {hint}")
        return found

    def spelt_like(self, word: str, count: int = 1) -> list[str]:
        """Return the words that are spelt most like one, nearest first."""
        among = self.names[:MOST_COMPARED]
        exact = difflib.get_close_matches(word, among, count)
        return exact or difflib.get_close_matches(word.lower(), among, count, cutoff=0.4)

    def units(self, rows: Sequence[int]) -> Floats:
        """Return vectors (rows, dimensions) of length 1; one of zeros stays."""
        return unit(self.matrix[np.asarray(rows, np.int64)])

    def along(self, directions: Floats) -> Floats:
        """Return how far each word's unit vector reaches along some directions.

        That is the cosine, where a direction has the length 1.

        Shapes: directions (directions, dimensions), the result (directions, words) float32.
        """
        return (directions @ self.matrix.T) / _divisors(self.norms)


def neighbours(vectors: Vectors, word: str, count: int = 10) -> list[Neighbour]:
    """Return the words nearest to one by cosine, itself left out.

    Raises:
        BadInput: a word that has no vector.
    """
    row = vectors.row(word)
    return best(vectors, vectors.along(vectors.units([row]))[0], count, [row])


def neighbour_rank(vectors: Vectors, word: str, other: str) -> int:
    """Return the place of another word among a word's neighbours: 1 is the nearest.

    Raises:
        BadInput: a word that has no vector, or twice the same.
    """
    row, theirs = vectors.row(word), vectors.row(other)
    if row == theirs:
        raise BadInput(f"{other!r} is the word itself: give another one to be near it")
    return place(vectors.along(vectors.units([row]))[0], theirs, [row])


def best(
    vectors: Vectors, scores: Floats, count: int, left_out: Sequence[int] = ()
) -> list[Neighbour]:
    """Return the words of the highest scores (words,), best first."""
    scores = _without(scores, left_out)
    count = min(count, len(scores) - len(set(left_out)))
    top = np.argpartition(-scores, count - 1)[:count] if 0 < count < len(scores) else None
    rows = np.arange(len(scores)) if top is None else np.sort(top)  # of equals the first is first
    rows = rows[np.argsort(-scores[rows], kind="stable")][: max(0, count)]
    return [Neighbour(vectors.names[row], float(scores[row])) for row in rows]


def place(scores: Floats, row: int, left_out: Sequence[int] = ()) -> int:
    """Return the place of a row by its score: 1 is the best."""
    return 1 + int((_without(scores, left_out) > scores[row]).sum())


def lengths(matrix: Floats) -> Floats:
    """Return the length of each row, (rows,) float32."""
    return np.sqrt(np.einsum("ij,ij->i", matrix, matrix))


def unit(matrix: Floats) -> Floats:
    """Return rows of length 1 in the directions of these; one of zeros stays."""
    return matrix / _divisors(lengths(matrix))[:, None]


def _without(scores: Floats, left_out: Sequence[int]) -> Floats:
    scores = scores.copy()
    scores[list(left_out)] = -np.inf
    return scores


def _divisors(norms: Floats) -> Floats:
    """Lengths, 1 in place of 0: a vector of zeros has the cosine 0 with everything."""
    return np.where(norms > 0, norms, np.float32(1))
