"""What is near what, and what is said of a word that is not there."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from wordorder.errors import BadInput
from wordorder.words.analogies import Question, accuracy
from wordorder.words.vectors import Neighbour, Vectors


def neighbours(vectors: Vectors, word: str, count: int = 10) -> list[Neighbour]:
    return vectors.most_similar([word], topn=count)


def cosine(first: list[float], second: list[float]) -> float:
    """As the definition reads, in Python's own numbers."""
    product = sum(a * b for a, b in zip(first, second, strict=True))
    sizes = math.sqrt(sum(a * a for a in first)) * math.sqrt(sum(b * b for b in second))
    return product / sizes


def test_neighbours_are_those_of_the_largest_cosine(make_drawn: Callable[..., Vectors]) -> None:
    vectors = make_drawn(200, 7)
    rows = vectors.matrix.tolist()
    cosines = {name: cosine(rows[17], row) for name, row in zip(vectors.names, rows, strict=True)}
    del cosines["w17"]
    expected = sorted(cosines, key=cosines.__getitem__, reverse=True)
    found = neighbours(vectors, "w17", 12)
    assert [near.word for near in found] == expected[:12]
    assert [near.score for near in found] == pytest.approx(
        [cosines[name] for name in expected[:12]], abs=1e-6
    )
    assert vectors.rank(expected[0], ["w17"]) == 1
    assert vectors.rank(expected[198], ["w17"]) == 199


@pytest.mark.parametrize("terms", [(["w17"], []), (["w3", "w20"], ["w8"])])
def test_answers_are_those_of_gensim(
    make_drawn: Callable[..., Vectors], terms: tuple[list[str], list[str]]
) -> None:
    vectors = make_drawn(200, 7)
    keyed = vectors.keyed()
    found, theirs = vectors.most_similar(*terms, topn=12), keyed.most_similar(*terms, topn=12)
    assert [word for word, _ in found] == [word for word, _ in theirs]
    np.testing.assert_allclose([s for _, s in found], [s for _, s in theirs], atol=1e-6)
    again = Vectors.of_keyed("theirs", keyed)
    assert again.matrix is vectors.matrix and again.most_similar(*terms, topn=12) == found


def test_more_neighbours_than_there_are_are_all_of_them(planted: Vectors) -> None:
    assert len(neighbours(planted, "king", 100)) == len(planted) - 1
    assert neighbours(planted, "king", 100)[0].word == "queen"


def test_how_long_a_vector_is_makes_no_difference(planted: Vectors) -> None:
    longer = planted.matrix * np.arange(1, 7, dtype=np.float32)[:, None]
    found = neighbours(Vectors("longer", planted.names, longer), "king")
    assert [near.word for near in found] == [near.word for near in neighbours(planted, "king")]


def test_a_vector_of_zeros_is_near_nothing() -> None:
    matrix = np.array([[1, 0], [0, 0], [1, 1], [-1, -1]], np.float32)
    vectors = Vectors("zeros", ["a", "nought", "b", "c"], matrix)
    assert [(n.word, round(n.score, 3)) for n in neighbours(vectors, "a")] == [
        ("b", 0.707),
        ("nought", 0.0),
        ("c", -0.707),
    ]
    assert all(near.score == 0 for near in neighbours(vectors, "nought"))


def test_a_word_is_found_as_written_or_in_lower_case() -> None:
    vectors = Vectors("case", ["Turkey", "turkey", "king"], np.eye(3, dtype=np.float32))
    assert [vectors.find(word) for word in ("Turkey", "turkey", "King", "kings")] == [0, 1, 2, None]


def test_a_word_is_found_however_its_accents_are_written() -> None:
    names = ["caf\u00e9", "re\u0301el", "re\u0301el"]
    vectors = Vectors("v", names, np.eye(3, dtype=np.float32))
    assert [vectors.find(word) for word in ("cafe\u0301", "CAFE\u0301", "r\u00e9el")] == [0, 0, 1]


def test_of_a_word_that_is_there_twice_the_first_counts() -> None:
    names = ["king", "queen", "man", "woman", "king", "caf\u00e9", "cafe\u0301"]
    rows = [[1, 0, 1], [1, 1, 1], [0, 0, 1], [0, 1, 1], [5, 5, 0], [0, 0, 2], [5, 5, 1]]
    twice = Vectors("twice", names, np.array(rows, np.float32))
    once = [names[row] for row in (0, 1, 2, 3, 5)]
    assert twice.row("king") == 0 and twice.repeated.tolist() == [4, 6]
    for method in ("add", "mul"):
        answers = twice.most_similar(["king", "woman"], ["man"], method=method)
        assert [near.word for near in answers] == ["queen", "caf\u00e9"]
        assert twice.rank("queen", ["king", "woman"], ["man"], method=method) == 1
        question = Question("man", "king", "woman", "queen")
        assert accuracy(twice, [question], method=method)[-1].right == 1
    everything = twice.most_similar(["king"], include_inputs=True)
    assert sorted(near.word for near in everything) == sorted(once)


def test_a_word_that_is_not_there_is_told_with_the_nearest_spelt(planted: Vectors) -> None:
    with pytest.raises(BadInput) as raised:
        planted.row("womann")
    assert raised.value.code == "words.unknown-word" and "'woman'" in str(raised.value)
    with pytest.raises(BadInput) as caught:
        planted.row("1234")
    assert caught.value.code == "words.unknown-word" and "did you mean" not in str(caught.value)


def test_the_first_words_alone(planted: Vectors) -> None:
    few = planted.first(3)
    assert len(few) == 3 and few.find("woman") is None
    assert [near.word for near in neighbours(few, "king")] == ["queen", "man"]


def test_a_word_has_no_rank_among_its_own_neighbours(planted: Vectors) -> None:
    with pytest.raises(BadInput) as caught:
        planted.rank("King", ["king"])
    assert caught.value.code == "words.expects-itself"


def test_a_word_past_the_vocabulary_is_said_to_be(make_drawn: Callable[..., Vectors]) -> None:
    vectors = make_drawn(10, 3)
    with pytest.raises(BadInput, match=r"among its first 4 \(row 6\)"):
        vectors.first(4).row(vectors.names[5])
