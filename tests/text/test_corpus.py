import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wordorder.errors import BadInput
from wordorder.text.corpus import Corpus, Document, load_corpus


def corpus_of(*texts: str) -> Corpus:
    return Corpus("made", tuple(Document(text, f"text {n}") for n, text in enumerate(texts)))


def many(count: int) -> Corpus:
    return corpus_of(*(f"document number {n} says {n * n}" for n in range(count)))


def test_counts_bytes_and_characters() -> None:
    corpus = corpus_of("naïve", "日本")
    assert (corpus.bytes, corpus.characters) == (12, 7)


def test_content_hash_sees_boundaries_and_not_names() -> None:
    assert corpus_of("ab", "c").content_hash != corpus_of("a", "bc").content_hash
    renamed = Corpus("other", (Document("ab", "x"), Document("c", "y")))
    assert renamed.content_hash == corpus_of("ab", "c").content_hash


def test_hash_split_takes_about_the_fraction_and_loses_nothing() -> None:
    corpus = many(4000)
    training, validation = corpus.split(0.1)
    # Four standard deviations of a binomial with these numbers are 76.
    assert abs(len(validation.documents) - 400) < 76
    assert sorted(training.documents + validation.documents) == sorted(corpus.documents)


def test_hash_split_does_not_move_documents_when_others_come() -> None:
    few, more = many(200).split(0.2)[1], many(400).split(0.2)[1]
    assert set(few.documents) == {d for d in more.documents if d in many(200).documents}


def test_hash_split_keeps_equal_texts_together() -> None:
    training, validation = corpus_of(*["same"] * 10, *map(str, range(90))).split(0.5)
    sides = [sum(d.text == "same" for d in part.documents) for part in (training, validation)]
    assert sorted(sides) == [0, 10]


def test_hash_split_is_the_same_in_another_process() -> None:
    program = (
        "from wordorder.text.corpus import Corpus, Document;"
        "c = Corpus('', [Document(str(n), '') for n in range(100)]);"
        "print(' '.join(d.text for d in c.split(0.1)[1].documents))"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    # Written down once: a change of hash would move every user's validation text.
    assert out == "3 9 16 21 38 46 66 67 68 79 92\n"


def test_tail_split_is_nanogpts() -> None:
    text = "".join(chr(97 + n % 26) for n in range(1_115_394))
    training, validation = corpus_of(text).split(0.1)
    assert training.documents[0].text == text[:1_003_854]
    assert validation.documents[0].text == text[1_003_854:]


@given(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=19), st.floats(0.01, 0.99))
def test_tail_split_cuts_at_a_character_and_leaves_both_sides(
    texts: list[str], fraction: float
) -> None:
    if sum(map(len, texts)) < 2:
        return
    corpus = corpus_of(*texts)
    training, validation = corpus.split(fraction)
    whole = "".join(texts)
    joined = ["".join(d.text for d in part.documents) for part in (training, validation)]
    assert "".join(joined) == whole
    assert all(joined)
    assert abs(len(joined[1]) - fraction * len(whole)) <= 1
    assert all(d.text for part in (training, validation) for d in part.documents)


@pytest.mark.parametrize("fraction", [0.0001, 0.9999])
def test_hash_split_leaves_a_document_on_each_side(fraction: float) -> None:
    training, validation = many(20).split(fraction)
    assert training.documents and validation.documents


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_impossible_fractions_are_named(fraction: float) -> None:
    with pytest.raises(BadInput, match=r"validation fraction .* leaves nothing on one side"):
        many(30).split(fraction)


def test_too_little_to_split() -> None:
    with pytest.raises(BadInput, match=r"made holds 1 characters: too few to split in two"):
        corpus_of("x").split()
    with pytest.raises(BadInput, match=r"one document, which a hash cannot split"):
        corpus_of("long enough").split(how="hash")


def test_several_sources_are_one_corpus(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    corpus = load_corpus([str(tmp_path / "a.txt"), str(tmp_path / "b.txt")])
    assert [d.text for d in corpus.documents] == ["a.txt", "b.txt"]
    assert corpus.name == f"{tmp_path}/a.txt + {tmp_path}/b.txt"


def test_many_sources_have_a_short_name(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.txt" for n in range(20)]
    for path in paths:
        path.write_text("some text")
    assert load_corpus(list(map(str, paths))).name == f"{paths[0]} + {paths[1]} + 18 more"
    assert load_corpus(list(map(str, paths[:4]))).name == " + ".join(map(str, paths[:4]))


def test_no_data_is_bad_input() -> None:
    with pytest.raises(BadInput, match="no data given"):
        load_corpus([])
