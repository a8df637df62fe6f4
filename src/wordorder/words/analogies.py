"""Analogies: king - man + woman should be near queen, and how often such questions come out.

Two ways to answer, both from the cosines of a candidate with the three words:

    3CosAdd   cos(x, a - b + c), which orders words as cos(x, a) - cos(x, b) + cos(x, c) does
    3CosMul   cos(x, a) cos(x, c) / (cos(x, b) + ε), cosines moved to 0 … 1 by (cos + 1) / 2

a, b and c are brought to length 1 first.

In a sum the largest difference decides alone; a product weighs the three against one another.

The three words themselves are left out of the answers, as in every published figure: what
a - b + c is nearest to is usually a or c, and "king" is no answer. `include_inputs` shows that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from wordorder.errors import BadInput
from wordorder.text.user_text import printable, read_text
from wordorder.words.vectors import Floats, Neighbour, Vectors, best, place, unit

Method = Literal["add", "mul"]
METHODS: dict[Method, str] = {"add": "3CosAdd", "mul": "3CosMul"}

EPSILON = 0.001  # Levy and Goldberg's
VOCABULARY = 30_000  # most frequent words; what the word2vec distribution scores by default
QUESTIONS_AT_ONCE = 128  # of 30,000 words four matrices of 15 MB


@dataclass(frozen=True)
class Question:
    """What is to c as a is to b? As "man king woman" it expects "queen"; b - a + c."""

    a: str
    b: str
    c: str
    expected: str
    section: str = ""


@dataclass(frozen=True)
class Score:
    """How many questions came out.

    Args:
        section: its name; "total" for all.
        right: whose expected word is the nearest.
        asked: all of whose words are in the vocabulary.
        absent: the others, which count neither way.
    """

    section: str
    right: int
    asked: int
    absent: int

    @property
    def share(self) -> float | None:
        """Right ones of those asked; None where none could be."""
        return self.right / self.asked if self.asked else None


@dataclass(frozen=True)
class Accuracy:
    """What came out of a file of questions, section by section and in all."""

    sections: tuple[Score, ...]
    total: Score


def analogy(
    vectors: Vectors,
    a: str,
    b: str,
    c: str,
    *,
    method: Method = "add",
    count: int = 10,
    include_inputs: bool = False,
) -> list[Neighbour]:
    """Return the words nearest to a - b + c, best first.

    Raises:
        BadInput: a word that has no vector.

    Source: Levy and Goldberg 2014, Linguistic Regularities in Sparse and Explicit Word
    Representations, equations 2 to 4.
    """
    rows = [vectors.row(word) for word in (a, b, c)]
    scores = _scores(vectors, [rows], method)[0]
    return best(vectors, scores, count, () if include_inputs else rows)


def rank(
    vectors: Vectors,
    expected: str,
    a: str,
    b: str,
    c: str,
    *,
    method: Method = "add",
    include_inputs: bool = False,
) -> int:
    """Return the place of an expected word among the answers to a - b + c: 1 is the best.

    Raises:
        BadInput: a word that has no vector; an expected one that is left out.
    """
    rows = [vectors.row(word) for word in (a, b, c)]
    row = vectors.row(expected)
    if row in rows and not include_inputs:
        raise BadInput(
            f"{expected!r} is one of the three words, which are left out: "
            "expect another, or add --include-inputs"
        )
    scores = _scores(vectors, [rows], method)[0]
    return place(scores, row, () if include_inputs else rows)


def accuracy(
    vectors: Vectors,
    questions: Sequence[Question],
    *,
    vocabulary: int | None = VOCABULARY,
    method: Method = "add",
    include_inputs: bool = False,
) -> Accuracy:
    """Return how many questions come out, per section.

    Args:
        vocabulary: only the first words count, as answers too; None: all. Published figures
            depend on it: fewer words are fewer rivals, and fewer questions.

    Source: Mikolov et al. 2013, Efficient Estimation of Word Representations, section 4.
    """
    vectors = vectors if vocabulary is None else vectors.first(vocabulary)
    words = [(q.b, q.a, q.c, q.expected) for q in questions]
    rows = [[vectors.find(word) for word in each] for each in words]
    known = [i for i, each in enumerate(rows) if None not in each]
    right = np.zeros(len(questions), bool)
    for start in range(0, len(known), QUESTIONS_AT_ONCE):
        some = known[start : start + QUESTIONS_AT_ONCE]
        chosen = np.array([rows[i] for i in some])
        scores = _scores(vectors, chosen[:, :3], method)
        if not include_inputs:
            np.put_along_axis(scores, chosen[:, :3], -np.inf, axis=1)
        right[some] = scores.argmax(1) == chosen[:, 3]
    asked = np.zeros(len(questions), bool)
    asked[known] = True
    sections = np.array([q.section for q in questions], object)
    parts = [_score(name, right, asked, sections == name) for name in dict.fromkeys(sections)]
    everything = np.ones(len(questions), bool)
    return Accuracy(tuple(parts), _score("total", right, asked, everything))


def read_questions(path: str | Path) -> list[Question]:
    """Read questions in the format of questions-words.txt.

    Lines of four words, under lines that name a section, as `: capital-world`.

    Raises:
        BadInput: no such file, a line that is neither (which), or no question at all.
    """
    source = printable(path)
    text = read_text(path, f"no such file: {source}; give one as questions-words.txt is")
    questions, section = [], "questions"
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.split()
        if line.startswith(":"):
            section = line[1:].strip()
        elif len(words) == 4:
            questions.append(Question(*words, section=section))
        elif words:
            raise BadInput(
                f"{source}, line {number}: {len(words)} words, where a question has 4 "
                "and a section is written as ': name'"
            )
    if not questions:
        raise BadInput(f"{source} holds no question: a line of it is as 'man king woman queen'")
    return questions


def _scores(vectors: Vectors, rows: Sequence[Sequence[int]], method: Method) -> Floats:
    """Return the score of every word for each a - b + c, (analogies, words)."""
    a, b, c = (vectors.units(each) for each in zip(*rows, strict=True))
    if method == "add":  # the cosine with the sum, which orders words as the sum of cosines does
        return vectors.along(unit(a - b + c))
    a, b, c = ((vectors.along(units) + 1) / 2 for units in (a, b, c))
    return a * c / (b + np.float32(EPSILON))


def _score(name: str, right: np.ndarray, asked: np.ndarray, of: np.ndarray) -> Score:
    return Score(name, int(right[of].sum()), int(asked[of].sum()), int((of & ~asked).sum()))
