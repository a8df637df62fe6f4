"""A table of word vectors: nearest neighbours and analogies.

Words are neighbours if the cosine of their vectors is large. An analogy, king - man + woman, is
scored in one of two ways, from the cosines of a candidate x with the words:

    3CosAdd   cos(x, a - b + c), which orders words as cos(x, a) - cos(x, b) + cos(x, c) does
    3CosMul   cos(x, a) cos(x, c) / (cos(x, b) + ε), with cosines mapped to 0 … 1 by (cos + 1) / 2

a, b and c are normalised first. In the sum one large term can dominate; the product balances the
three. The three words are excluded from the answers, as in published figures, because the word
nearest to a - b + c is usually a or c.

Methods have the names of gensim's `KeyedVectors`, whose `most_similar` returns the same scores for
3CosAdd; its `most_similar_cosmul` adds ε = 0.000001 where the paper adds 0.001. Only `keyed` needs
gensim. This module does not import torch, so that a query of a file starts quickly.
"""

from __future__ import annotations

import difflib
import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wordorder.errors import BadInput
from wordorder.text.words import normalized

if TYPE_CHECKING:
    from gensim.models import KeyedVectors

Floats = NDArray[np.float32]
Method = Literal["add", "mul"]
METHODS: dict[Method, str] = {"add": "3CosAdd", "mul": "3CosMul"}
EPSILON = 0.001  # Levy and Goldberg's

# A misspelt word is compared with the first words only, which are the most frequent in most files.
# Comparing with 400,000 would take four seconds and suggest rarer words.
MOST_COMPARED = 50_000


class Neighbour(NamedTuple):
    """A word and its score: a cosine, or the score of an analogy."""

    word: str
    score: float


@dataclass(frozen=True, eq=False)
class Vectors:
    """A table of words and their vectors.

    Args:
        source: the name of the table, for messages.
        names: the words; of a word that occurs twice the first row is used.
        matrix: (words, dimensions) float32; may be memory-mapped; never written.
        absent: returns why a word is missing, in parentheses after a space, or "".
    """

    source: str
    names: list[str]
    matrix: Floats
    absent: Callable[[str], str] = lambda _: ""

    @classmethod
    def of_keyed(cls, source: str, keyed: KeyedVectors) -> Vectors:
        """Return the table of gensim's `KeyedVectors`, without copying it."""
        return cls(source, keyed.index_to_key, keyed.vectors)

    def keyed(self) -> KeyedVectors:
        """Return the table as gensim's `KeyedVectors`, without copying it.

        Raises:
            BadInput: gensim is not installed.
        """
        keyed = gensim_models("Vectors.keyed").KeyedVectors(self.matrix.shape[1])
        keyed.index_to_key, keyed.key_to_index = self.names, self.index
        keyed.vectors, keyed.norms = self.matrix, self.norms
        return keyed

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def index(self) -> dict[str, int]:
        """The row of each word, by its NFC-normalised spelling."""
        rows = range(len(self.names) - 1, -1, -1)
        return dict(zip(map(normalized, reversed(self.names)), rows, strict=True))

    @cached_property
    def repeated(self) -> NDArray[np.int64]:
        """The rows (rows,) whose word has an earlier row; they are excluded from answers."""
        if len(self.index) == len(self.names):
            return np.empty(0, np.int64)
        rows = (row for row, n in enumerate(self.names) if self.index[normalized(n)] != row)
        return np.fromiter(rows, np.int64)

    @cached_property
    def norms(self) -> Floats:
        """The Euclidean norms (words,) of the vectors, float32."""
        return _lengths(self.matrix)

    def first(self, count: int) -> Vectors:
        """Return a table of the first words, which are the most frequent in most files."""

        def absent(word: str) -> str:
            row = self.find(word)
            return (
                self.absent(word)
                if row is None
                else f" among its first {count:,} (row {row + 1:,})"
            )

        names, matrix = self.names[:count], self.matrix[:count]
        return replace(self, names=names, matrix=matrix, absent=absent)

    def find(self, word: str) -> int | None:
        """Return the row of a word, tried as written, then in lower case; None if absent."""
        word = normalized(word)
        return self.index.get(word, self.index.get(word.lower()))

    def row(self, word: str) -> int:
        """Return the row of a word.

        Raises:
            BadInput: the word is absent; the message suggests a word of similar spelling.
        """
        row = self.find(word)
        if row is None:
            among = self.names[:MOST_COMPARED]
            near = difflib.get_close_matches(word, among, 1) or difflib.get_close_matches(
                word.lower(), among, 1, cutoff=0.4
            )
            hint = f"did you mean {near[0]!r}?" if near else "no word has a similar spelling"
            raise BadInput(
                f"{self.source} has no word {word!r}{self.absent(word)}: {hint}",
                code="words.unknown-word",
            )
        return row

    def most_similar(
        self,
        positive: Sequence[str],
        negative: Sequence[str] = (),
        topn: int = 10,
        *,
        method: Method = "add",
        include_inputs: bool = False,
    ) -> list[Neighbour]:
        """Return the words nearest to sum(positive) - sum(negative), best first.

        Args:
            include_inputs: whether the given words may be answers.

        Raises:
            BadInput: a word is absent.

        Source: Levy and Goldberg 2014, Linguistic Regularities in Sparse and Explicit Word
        Representations, equations 2 to 4.
        """
        scores = self._scores_of(positive, negative, method, include_inputs)
        return best(self.names, scores, topn)

    def rank(
        self,
        expected: str,
        positive: Sequence[str],
        negative: Sequence[str] = (),
        *,
        method: Method = "add",
        include_inputs: bool = False,
    ) -> int:
        """Return the rank of a word among all answers of `most_similar`: 1 is the nearest.

        Raises:
            BadInput: a word is absent, or the expected word is one of the given words.
        """
        scores = self._scores_of(positive, negative, method, include_inputs)
        score = scores[self.row(expected)]
        if score == -np.inf:
            if len(positive) + len(negative) == 1:
                raise BadInput(
                    f"--expect {expected!r} is the given word itself: expect another word",
                    code="words.expects-itself",
                )
            raise BadInput(
                f"--expect {expected!r} is one of the given words, which are excluded from the "
                "answers: expect another word, or add --include-inputs",
                code="words.expects-input",
            )
        return 1 + int((scores > score).sum())

    def _scores_of(
        self, positive: Sequence[str], negative: Sequence[str], method: Method, include_inputs: bool
    ) -> Floats:
        """The score of every word (words,), -inf for excluded words."""
        plus, minus = ([self.row(word) for word in words] for words in (positive, negative))
        scores = self.scores(plus, minus, method)[0]
        if not include_inputs:
            scores[plus + minus] = -np.inf
        return scores

    def scores(
        self, positive: ArrayLike, negative: ArrayLike = (), method: Method = "add"
    ) -> Floats:
        """Return the scores of all words for a batch of questions; -inf for `repeated` rows.

        Shapes: returns (questions, words) float32.

        Args:
            positive, negative: (questions, terms) rows of the table, or (terms,) of one question.
        """
        terms = [np.atleast_2d(np.asarray(rows, np.int64)) for rows in (positive, negative)]
        plus, minus = (unit(self.matrix[rows]) for rows in terms)
        if method == "add":
            scores = self.cosines(unit(plus.sum(1) - minus.sum(1)))
        else:
            # One term at a time: (questions, terms, words) would be three times the memory.
            above: Any = math.prod((self.cosines(term) + 1) / 2 for term in plus.swapaxes(0, 1))
            below: Any = math.prod((self.cosines(term) + 1) / 2 for term in minus.swapaxes(0, 1))
            scores = above / (below + np.float32(EPSILON))
        scores[:, self.repeated] = -np.inf
        return scores

    def cosines(self, directions: Floats) -> Floats:
        """Return the cosine of every word with directions of length 1.

        Shapes: directions (directions, dimensions); returns (directions, words) float32.
        """
        return (directions @ self.matrix.T) / _divisors(self.norms)


def gensim_models(user: str) -> Any:
    """Return the module gensim.models.

    Args:
        user: the feature that needs gensim, for the message.

    Raises:
        BadInput: gensim is not installed.
    """
    try:
        return importlib.import_module("gensim.models")
    except ImportError:
        raise BadInput(
            f"{user} needs gensim: pip install 'wordorder[words]'", code="words.needs-gensim"
        ) from None


def best(names: Sequence[str], scores: Floats, count: int) -> list[Neighbour]:
    """Return the names with the highest scores (names,), best first.

    Equal scores stay in the order of `names`; a score of -inf is excluded.
    """
    count = min(count, int((scores > -np.inf).sum()))
    if count < 1:
        return []
    top = np.flatnonzero(scores >= np.partition(scores, -count)[-count])
    rows = top[np.argsort(-scores[top], kind="stable")][:count]
    return [Neighbour(names[row], float(scores[row])) for row in rows]


def unit(matrix: Floats) -> Floats:
    """Return vectors (..., dimensions) scaled to length 1; zero vectors stay zero."""
    return matrix / _divisors(_lengths(matrix))[..., None]


def _lengths(matrix: Floats) -> Floats:
    return np.sqrt(np.einsum("...i,...i->...", matrix, matrix))


def _divisors(norms: Floats) -> Floats:
    """Norms with 1 in place of 0, so that a zero vector has the cosine 0 with all others."""
    return np.where(norms > 0, norms, np.float32(1))
