from pathlib import Path

import pytest

from wordorder.errors import BadInput
from wordorder.text.corpus import Corpus, Document
from wordorder.text.load import load_corpus


def corpus_of(*texts: str) -> Corpus:
    return Corpus("made", tuple(Document(text, f"text {n}") for n, text in enumerate(texts)))


def test_counts_bytes_and_characters() -> None:
    corpus = corpus_of("naïve", "日本")
    assert (corpus.bytes, corpus.characters) == (12, 7)


def test_content_hash_sees_boundaries_and_not_names() -> None:
    assert corpus_of("ab", "c").content_hash != corpus_of("a", "bc").content_hash
    renamed = Corpus("other", (Document("ab", "x"), Document("c", "y")))
    assert renamed.content_hash == corpus_of("ab", "c").content_hash


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
    with pytest.raises(BadInput, match="no data: give python-docs"):
        load_corpus([])
