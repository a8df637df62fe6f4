"""Analogy questions, and the accuracy of a table of word vectors on them.

gensim's `evaluate_word_analogies` is not used: it has 3CosAdd only, does not count the questions
with a missing word, and does not report which line of a file is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wordorder.errors import BadInput
from wordorder.numerals import counted
from wordorder.text.user_text import printable, read_text
from wordorder.words.vectors import METHODS, Method, Vectors

VOCABULARY = 30_000  # most frequent words; what the word2vec distribution scores by default
QUESTIONS_AT_ONCE = 128  # four matrices of 15 MB for 30,000 words


class Question(NamedTuple):
    """The analogy b - a + c: "man king woman" expects "queen"."""

    a: str
    b: str
    c: str
    expected: str
    section: str = ""


@dataclass(frozen=True)
class Score:
    """The number of correct answers in one section.

    Args:
        section: its name; "total" for all sections.
        right: questions whose expected word comes first.
        asked: questions whose four words are all in the vocabulary.
        absent: the other questions, which count as neither right nor wrong.
    """

    section: str
    right: int
    asked: int
    absent: int

    @property
    def share(self) -> float | None:
        """The fraction of `asked` that is right; None if `asked` is 0."""
        return self.right / self.asked if self.asked else None


def solved(
    vectors: Vectors,
    a: str,
    b: str,
    c: str,
    *,
    expected: str | None = None,
    count: int = 10,
    include_inputs: bool = False,
) -> dict[str, Any]:
    """Return the answers to a - b + c by each method, and the ranks of the expected word.

    Args:
        expected: its ranks among all words, without the three given words and with them.
        include_inputs: whether the given words may be answers.

    Raises:
        BadInput: a word is absent, or the expected word is a given one and these are excluded.
    """
    answers: dict[str, Any] = {"words": [a, b, c]}
    for method in METHODS:
        neighbours = vectors.most_similar(
            [a, c], [b], count, method=method, include_inputs=include_inputs
        )
        answers[method] = [neighbour._asdict() for neighbour in neighbours]
    if expected:

        def rank(method: Method, *, included: bool) -> int:
            return vectors.rank(expected, [a, c], [b], method=method, include_inputs=included)

        answers["expected"] = expected
        answers["ranks"] = {
            method: {
                # With inputs included, the expected word may be one: it has no rank without them.
                "left_out": None if include_inputs else rank(method, included=False),
                "included": rank(method, included=True),
            }
            for method in METHODS
        }
    return answers


def accuracy(
    vectors: Vectors,
    questions: Sequence[Question],
    *,
    vocabulary: int | None = VOCABULARY,
    method: Method = "add",
    include_inputs: bool = False,
) -> list[Score]:
    """Return the score of each section, and of all questions last.

    Args:
        vocabulary: use only the first words of the table, for answers too; None: all. Published
            figures depend on it: fewer words leave fewer wrong answers and fewer questions.

    Source: Mikolov et al. 2013, Efficient Estimation of Word Representations, section 4.
    """
    vectors = vectors if vocabulary is None else vectors.first(vocabulary)
    rows = [[vectors.find(word) for word in (q.b, q.a, q.c, q.expected)] for q in questions]
    answerable = np.array([None not in row for row in rows], bool)
    known = np.flatnonzero(answerable)
    right = np.zeros(len(questions), bool)
    for start in range(0, len(known), QUESTIONS_AT_ONCE):
        batch = known[start : start + QUESTIONS_AT_ONCE]
        chosen = np.array([rows[number] for number in batch])
        scores = vectors.scores(chosen[:, (0, 2)], chosen[:, 1:2], method)
        if not include_inputs:
            np.put_along_axis(scores, chosen[:, :3], -np.inf, axis=1)
        right[batch] = scores.argmax(1) == chosen[:, 3]
    sections = np.array([question.section for question in questions], object)
    parts = [(name, sections == name) for name in dict.fromkeys(sections)]
    parts.append(("total", np.ones(len(questions), bool)))  # a section may be called "total" too
    return [
        Score(name, *(int(mask[part].sum()) for mask in (right, answerable, ~answerable)))
        for name, part in parts
    ]


def read_questions(path: str | Path) -> list[Question]:
    """Read questions in the format of questions-words.txt.

    Each question is a line of four words; a line such as `: capital-world` begins a section.

    Raises:
        BadInput: the file does not exist, a line has another format, or no line is a question.
    """
    source = printable(path)
    text = read_text(
        path, f"no such file: {source}; give a file in the format of questions-words.txt"
    )
    questions, section = [], "questions"
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.split()
        if line.startswith(":"):
            section = line[1:].strip()
        elif len(words) == 4:
            a, b, c, expected = words
            questions.append(Question(a, b, c, expected, section))
        elif words:
            raise BadInput(
                f"{source}, line {number}: {counted(len(words), 'word')}, but a question has 4, "
                "and a section name is written as ': name'",
                code="words.question-format",
            )
    if not questions:
        raise BadInput(
            f"{source} has no questions: write each on a line, such as 'man king woman queen'",
            code="words.no-questions",
        )
    return questions
