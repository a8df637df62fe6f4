"""Analogies: a planted space that answers, both formulas in plain numbers, files of questions."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wordorder.errors import BadInput
from wordorder.words.analogies import Question, accuracy, read_questions
from wordorder.words.vectors import METHODS, Method, Neighbour, Vectors


def analogy(vectors: Vectors, a: str, b: str, c: str, **how: Any) -> list[Neighbour]:
    return vectors.most_similar([a, c], [b], **how)


def rank(vectors: Vectors, expected: str, a: str, b: str, c: str, **how: Any) -> int:
    return vectors.rank(expected, [a, c], [b], **how)


def ranked(vectors: Vectors, words: list[str], method: Method) -> list[str]:
    """Every word by its score, best first, after Levy and Goldberg, in Python's own numbers."""
    rows = {}
    for name, row in zip(vectors.names, vectors.matrix.tolist(), strict=True):
        size = math.sqrt(sum(x * x for x in row))
        rows[name] = [x / size for x in row]

    def cosine(first: str, second: str) -> float:
        return sum(x * y for x, y in zip(rows[first], rows[second], strict=True))

    def score(word: str) -> float:
        a, b, c = (cosine(word, other) for other in words)
        if method == "add":
            return a - b + c
        a, b, c = (a + 1) / 2, (b + 1) / 2, (c + 1) / 2
        return a * c / (b + 0.001)

    return sorted(rows, key=score, reverse=True)


@pytest.mark.parametrize("method", METHODS)
def test_king_is_to_man_as_queen_to_woman(planted: Vectors, method: Method) -> None:
    for words, expected in (
        (("king", "man", "woman"), "queen"),
        (("queen", "woman", "man"), "king"),
        (("woman", "queen", "king"), "man"),
    ):
        assert analogy(planted, *words, method=method)[0].word == expected
        assert rank(planted, expected, *words, method=method) == 1
    assert rank(planted, "chair", "king", "man", "woman", method=method) > 1


@pytest.mark.parametrize("method", METHODS)
def test_answers_are_those_of_the_formula(
    make_drawn: Callable[..., Vectors], method: Method
) -> None:
    vectors = make_drawn(60, 5)
    expected = ranked(vectors, ["w3", "w8", "w20"], method)
    found = analogy(vectors, "w3", "w8", "w20", method=method, topn=60, include_inputs=True)
    assert [each.word for each in found] == expected
    others = [word for word in expected if word not in ("w3", "w8", "w20")]
    found = analogy(vectors, "w3", "w8", "w20", method=method, topn=60)
    assert [each.word for each in found] == others
    assert rank(vectors, others[9], "w3", "w8", "w20", method=method) == 10
    place = expected.index(others[9]) + 1
    assert rank(vectors, others[9], "w3", "w8", "w20", method=method, include_inputs=True) == place


def test_a_sum_lets_one_large_cosine_decide_and_a_product_does_not() -> None:
    # cosines with a, b and c: the sum is .85 and .80, the product .94 and .98
    cosines = np.array([[0.8, 0.0, 0.05], [0.4, 0.0, 0.4]])
    answers = np.concatenate([cosines, np.diag(np.sqrt(1 - (cosines**2).sum(1)))], axis=1)
    matrix = np.concatenate([np.eye(3, 5), answers]).astype(np.float32)
    vectors = Vectors("two", ["a", "b", "c", "one", "both"], matrix)
    assert [each.word for each in analogy(vectors, "a", "b", "c", method="add")] == ["one", "both"]
    mul = analogy(vectors, "a", "b", "c", method="mul")
    assert [each.word for each in mul] == ["both", "one"]
    assert [each.score for each in mul] == pytest.approx(
        [0.7 * 0.7 / 0.501, 0.9 * 0.525 / 0.501], abs=1e-6
    )


def test_the_words_themselves_come_first_where_they_are_not_left_out(planted: Vectors) -> None:
    nearly = planted.matrix.copy()
    nearly[3, 1] = 0.3  # a woman is little else than a man: king - man + woman is nearest to king
    vectors = Vectors("nearly", planted.names, nearly)
    words = ("king", "man", "woman")
    assert analogy(vectors, *words)[0].word == "queen"
    assert analogy(vectors, *words, include_inputs=True)[0].word == "king"
    assert rank(vectors, "queen", *words) == 1
    assert rank(vectors, "queen", *words, include_inputs=True) > 1
    with pytest.raises(BadInput) as caught:
        rank(vectors, "king", *words)
    assert caught.value.code == "words.expects-input"
    assert rank(vectors, "king", *words, include_inputs=True) == 1

    asked = [Question("man", "king", "woman", "queen", "family")]
    assert accuracy(vectors, asked)[-1].right == 1
    assert accuracy(vectors, asked, include_inputs=True)[-1].right == 0


FAMILY = [
    Question("man", "king", "woman", "queen", "family"),
    Question("Man", "King", "Woman", "Queen", "capitals"),
    Question("man", "woman", "king", "queen", "family"),
    Question("man", "king", "woman", "chair", "wrong"),
    Question("man", "king", "woman", "princess", "family"),
]


def test_accuracy_by_section(planted: Vectors) -> None:
    found = accuracy(planted, FAMILY)
    assert [(s.section, s.right, s.asked, s.absent) for s in found[:-1]] == [
        ("family", 2, 2, 1),
        ("capitals", 1, 1, 0),
        ("wrong", 0, 1, 0),
    ]
    total = found[-1]
    assert (total.right, total.asked, total.absent, total.share) == (3, 4, 1, 0.75)


def test_a_smaller_vocabulary_asks_fewer_and_has_fewer_answers(planted: Vectors) -> None:
    found = accuracy(planted, FAMILY, vocabulary=4)
    assert (found[-1].asked, found[-1].absent) == (3, 2)
    none = accuracy(planted, FAMILY, vocabulary=2)
    assert (none[-1].asked, none[-1].share) == (0, None)


@pytest.mark.parametrize("method", METHODS)
def test_many_questions_at_once_are_each_answered_as_alone(
    make_drawn: Callable[..., Vectors], method: Method
) -> None:
    vectors = make_drawn(50, 4)
    picked = np.random.default_rng(1).integers(0, 50, (300, 3)).tolist()
    names = [[f"w{number}" for number in each] for each in picked if len(set(each)) == 3]
    first = [analogy(vectors, b, a, c, method=method, topn=1)[0].word for a, b, c in names]
    right = [Question(a, b, c, d) for (a, b, c), d in zip(names, first, strict=True)]
    wrong = [Question(a, b, c, a) for a, b, c in names]
    assert accuracy(vectors, right + wrong, method=method)[-1].right == len(names)


def test_questions_are_read_with_their_sections(tmp_path: Path) -> None:
    path = tmp_path / "q.txt"
    path.write_bytes(
        b"\xef\xbb\xbf: family\r\nman king woman queen\r\n\r\n: gram1 plural\r\na b c d\r\n"
    )
    assert read_questions(path) == [
        Question("man", "king", "woman", "queen", "family"),
        Question("a", "b", "c", "d", "gram1 plural"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (": family\nman king woman\n", "q.txt, line 2: 3 words, but a question has 4"),
        (": family\n", "has no questions"),
        (None, "no such file"),
        (b"a b c \xff\n", "1 byte of 8 in .* is not UTF-8"),
    ],
)
def test_questions_that_are_none(tmp_path: Path, text: str | bytes | None, said: str) -> None:
    path = tmp_path / "q.txt"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadInput, match=said):
        read_questions(path)


def test_the_example_of_the_docs_runs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "words.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(code, {})
