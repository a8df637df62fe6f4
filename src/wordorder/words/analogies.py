"""Files of analogy questions, and how many of them a table of vectors answers.

gensim's `evaluate_word_analogies` is not used: it answers by 3CosAdd only, and says neither how
many questions of a section are absent nor which line of a file is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wordorder.errors import BadInput
from wordorder.text.user_text import printable, read_text
from wordorder.words.vectors import Method, Vectors

VOCABULARY = 30_000  # most frequent words; what the word2vec distribution scores by default
QUESTIONS_AT_ONCE = 128  # four matrices of 15 MB for 30,000 words


class Question(NamedTuple):
    """b - a + c: "man king woman" expects "queen"."""

    a: str
    b: str
    c: str
    expected: str
    section: str = ""


@dataclass(frozen=True)
class Score:
    """How many questions of a section are answered.

    Args:
        section: its name; "total" for all sections.
        right: questions whose expected word is the nearest.
        asked: questions all of whose words are in the vocabulary.
        absent: the other questions, which count neither as right nor as wrong.
    """

    section: str
    right: int
    asked: int
    absent: int

    @property
    def share(self) -> float | None:
        """The fraction of `asked` that is right; None if none was asked."""
        return self.right / self.asked if self.asked else None


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
        vocabulary: only the first words count, as answers too; None: all. Published figures
            depend on it: with fewer words there are fewer wrong answers and fewer questions.

    Source: Mikolov et al. 2013, Efficient Estimation of Word Representations, section 4.
    """
    vectors = vectors if vocabulary is None else vectors.first(vocabulary)
    rows = [[vectors.find(word) for word in (q.b, q.a, q.c, q.expected)] for q in questions]
    asked = np.array([None not in each for each in rows], bool)
    known = np.flatnonzero(asked)
    right = np.zeros(len(questions), bool)
    for start in range(0, len(known), QUESTIONS_AT_ONCE):
        some = known[start : start + QUESTIONS_AT_ONCE]
        chosen = np.array([rows[number] for number in some])
        scores = vectors.scores(chosen[:, (0, 2)], chosen[:, 1:2], method)
        if not include_inputs:
            np.put_along_axis(scores, chosen[:, :3], -np.inf, axis=1)
        right[some] = scores.argmax(1) == chosen[:, 3]
    sections = np.array([question.section for question in questions], object)
    parts = [(name, sections == name) for name in dict.fromkeys(sections)]
    parts.append(("total", np.ones(len(questions), bool)))  # a section may have that name too
    return [
        Score(name, int(right[part].sum()), int(asked[part].sum()), int((~asked[part]).sum()))
        for name, part in parts
    ]


def read_questions(path: str | Path) -> list[Question]:
    """Read questions in the format of questions-words.txt.

    Lines of four words, below lines that name a section, as `: capital-world`.

    Raises:
        BadInput: the file does not exist, a line has another format, or there is no question.
    """
    source = printable(path)
    text = read_text(path, f"no such file: {source}; give one in the format of questions-words.txt")
    questions, section = [], "questions"
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.split()
        if line.startswith(":"):
            section = line[1:].strip()
        elif len(words) == 4:
            questions.append(Question(*words, section=section))
        elif words:
            raise BadInput(
                f"{source}, line {number}: {len(words)} words, but a question has 4 "
                "and a section is written as ': name'"
            )
    if not questions:
        raise BadInput(f"{source} has no questions: write each as 'man king woman queen'")
    return questions
