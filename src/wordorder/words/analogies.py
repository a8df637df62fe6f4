"""Files of questions, man king woman queen, and how many of them a table of vectors answers.

gensim's `evaluate_word_analogies` answers by 3CosAdd alone, one question at a time, without
saying how many words of a section are absent or which line of a file is wrong.
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
QUESTIONS_AT_ONCE = 128  # of 30,000 words four matrices of 15 MB


class Question(NamedTuple):
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
        right: questions whose expected word is the nearest.
        asked: questions all of whose words are in the vocabulary.
        absent: the others, which count neither way.
    """

    section: str
    right: int
    asked: int
    absent: int

    @property
    def share(self) -> float | None:
        """Right ones of those asked; None if none was."""
        return self.right / self.asked if self.asked else None


def accuracy(
    vectors: Vectors,
    questions: Sequence[Question],
    *,
    vocabulary: int | None = VOCABULARY,
    method: Method = "add",
    include_inputs: bool = False,
) -> list[Score]:
    """Return how many questions come out, section by section and at last in all.

    Args:
        vocabulary: only the first words count, as answers too; None: all. Published figures
            depend on it: fewer words are fewer rivals, and fewer questions.

    Source: Mikolov et al. 2013, Efficient Estimation of Word Representations, section 4.
    """
    vectors = vectors if vocabulary is None else vectors.first(vocabulary)
    rows = [[vectors.find(word) for word in (q.b, q.a, q.c, q.expected)] for q in questions]
    known = [number for number, each in enumerate(rows) if None not in each]
    right: set[int] = set()
    for start in range(0, len(known), QUESTIONS_AT_ONCE):
        some = known[start : start + QUESTIONS_AT_ONCE]
        chosen = np.array([rows[number] for number in some])
        scores = vectors.scores(chosen[:, (0, 2)], chosen[:, 1:2], method)
        if not include_inputs:
            np.put_along_axis(scores, chosen[:, :3], -np.inf, axis=1)
        right.update(np.array(some)[scores.argmax(1) == chosen[:, 3]].tolist())
    parts: dict[str, list[int]] = {}
    for number, question in enumerate(questions):
        parts.setdefault(question.section, []).append(number)
    whole = ("total", range(len(questions)))  # a section may have that name too
    return [
        Score(name, len(right.intersection(of)), n := len(set(known).intersection(of)), len(of) - n)
        for name, of in (*parts.items(), whole)
    ]


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
