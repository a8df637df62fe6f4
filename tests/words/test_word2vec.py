"""Vectors trained here: from which words, and whether they learn what stands beside what."""

from __future__ import annotations

import random
import sys
import unicodedata

import pytest

from wordorder.errors import BadInput
from wordorder.text.corpus import Corpus, Document
from wordorder.words.word2vec import LONGEST_LINE, lines_of, train_vectors


def corpus_of(*texts: str) -> Corpus:
    return Corpus("c", tuple(Document(text, "c") for text in texts))


def test_lines_of_lower_case_words() -> None:
    text = "The _King's_ 3 well-known\n\n12\nÉté, don’t!\n"
    assert list(lines_of(corpus_of(text, "End"))) == [
        ["the", "king's", "well", "known"],
        ["été", "don't"],
        ["end"],
    ]


def test_words_go_on_through_their_marks_and_are_composed() -> None:
    text = "किताब पढ़ना अच्छा है\nle cafe\u0301 noir"
    assert list(lines_of(corpus_of(text))) == [
        unicodedata.normalize("NFC", "किताब पढ़ना अच्छा है").split(),
        ["le", "caf\u00e9", "noir"],
    ]


def test_a_line_longer_than_gensim_takes_is_cut() -> None:
    lines = list(lines_of(corpus_of("a " * (LONGEST_LINE + 3))))
    assert [len(line) for line in lines] == [LONGEST_LINE, 3]


def two_worlds() -> Corpus:
    """Sentences of the sea and of the hills, which share no word but "the"."""
    draw = random.Random(0)
    worlds = ["ship sail wave fish".split(), "hill goat grass stone".split()]
    lines = [" ".join(["the", *draw.choices(worlds[i % 2], k=6)]) for i in range(4000)]
    return corpus_of("\n".join(lines))


def test_words_that_stand_together_come_near_and_one_thread_repeats_itself() -> None:
    options = {"dimensions": 16, "epochs": 4, "threads": 1}
    shares: list[float] = []
    first = train_vectors(two_worlds(), progress=shares.append, **options)
    assert shares == [0.25, 0.5, 0.75, 1]
    assert first.names[0] == "the" and first.matrix.shape == (9, 16)
    for word, near in (("ship", "sail wave fish"), ("goat", "hill grass stone")):
        assert {each.word for each in first.most_similar([word], topn=3)} == set(near.split())
    second = train_vectors(two_worlds(), **options)
    assert second.names == first.names and (second.matrix == first.matrix).all()
    other = train_vectors(two_worlds(), seed=1, **options)
    assert not (other.matrix == first.matrix).all()


def test_rare_words_have_no_vector() -> None:
    text = "many many many rare"
    assert train_vectors(corpus_of(text), min_count=2, threads=1).names == ["many"]
    with pytest.raises(BadInput) as caught:
        train_vectors(corpus_of(text), threads=1)
    assert caught.value.code == "words.too-little-text"


def test_without_gensim_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gensim.models", None)
    with pytest.raises(BadInput) as caught:
        train_vectors(corpus_of("a b"))
    assert caught.value.code == "words.needs-gensim"
