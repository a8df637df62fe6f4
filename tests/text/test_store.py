import os
from pathlib import Path

import numpy as np
import pytest

from wordorder.errors import BadInput
from wordorder.text import store as store_module
from wordorder.text.corpus import Corpus, Document
from wordorder.text.store import beginning, cache_folder, open_store
from wordorder.text.tokenizer import make_tokenizer

CORPUS = Corpus("made", (Document("naïve", "a"), Document("日本", "b"), Document("x", "c")))
BYTES = make_tokenizer("bytes", CORPUS)


@pytest.fixture
def encodings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of corpora that were encoded rather than found."""
    names: list[str] = []
    real = store_module._encode

    def counted(corpus: Corpus, tokenizer: object, template: object) -> object:
        names.append(corpus.name)
        return real(corpus, tokenizer, template)

    monkeypatch.setattr(store_module, "_encode", counted)
    return names


def test_documents_end_with_end_of_text() -> None:
    store = open_store(CORPUS, BYTES)
    assert store.tokens.tolist() == [*"naïve".encode(), 256, *"日本".encode(), 256, 120, 256]
    assert store.starts.tolist() == [0, 7, 14]
    assert (store.bytes, len(store), store.end_of_text) == (13, 16, 256)
    assert BYTES.token_bytes(np.asarray(store.tokens)) == store.bytes
    assert isinstance(store.tokens, np.memmap)


@pytest.mark.parametrize(("vocabulary", "dtype"), [(1 << 16, np.uint16), (65537, np.uint32)])
def test_smallest_dtype(vocabulary: int, dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = make_tokenizer("bytes", CORPUS)
    monkeypatch.setattr(tokenizer, "vocabulary_size", vocabulary)
    assert (
        open_store(Corpus("v", (Document(str(vocabulary), ""),)), tokenizer).tokens.dtype == dtype
    )


def test_found_again_by_content(encodings: list[str]) -> None:
    open_store(CORPUS, BYTES)
    renamed = Corpus("renamed", tuple(Document(d.text, "elsewhere") for d in CORPUS.documents))
    assert open_store(renamed, BYTES).tokens.tolist() == open_store(CORPUS, BYTES).tokens.tolist()
    assert encodings == ["made"]
    open_store(CORPUS, make_tokenizer("characters", CORPUS))
    open_store(Corpus("other", CORPUS.documents[:2]), BYTES)
    assert encodings == ["made", "made", "other"]


DAMAGE = {
    "tokens cut short": lambda e: os.truncate(e / "tokens.npy", 140),
    "tokens emptied": lambda e: (e / "tokens.npy").write_bytes(b""),
    "one token changed": lambda e: (e / "tokens.npy").write_bytes(
        (e / "tokens.npy").read_bytes()[:-1] + b"\7"
    ),
    "starts missing": lambda e: (e / "starts.npy").unlink(),
    "sums are not JSON": lambda e: (e / "sums.json").write_text("{"),
    "sums missing": lambda e: (e / "sums.json").unlink(),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_damaged_entry_is_made_again(how: str, cache: Path, encodings: list[str]) -> None:
    whole = open_store(CORPUS, BYTES).tokens.tolist()
    (entry,) = cache.iterdir()
    DAMAGE[how](entry)
    assert open_store(CORPUS, BYTES).tokens.tolist() == whole
    assert len(encodings) == 2
    open_store(CORPUS, BYTES)
    assert len(encodings) == 2
    assert [path.suffix for path in cache.iterdir()] == [""]


def test_nothing_is_left_when_writing_fails(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    assert len(open_store(CORPUS, BYTES)) == 16
    assert not list(cache.iterdir())


def test_cache_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(open_store(CORPUS, BYTES)) == 16


def test_cache_is_in_the_home_folder_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    open_store(CORPUS, BYTES)
    assert len(list((tmp_path / ".cache/wordorder/tokens").iterdir())) == 1


def test_the_beginning_of_a_few_documents_is_that_of_each() -> None:
    texts = ["the first " * 100, "das zweite " * 50, "третий " * 20, "x"]
    store = open_store(Corpus("few", tuple(Document(t, t[:3]) for t in texts)), BYTES)
    for most in (len(store), len(store) + 1):
        assert beginning(store, most, BYTES) is store
    for most in (1, 3, 100, len(store) - 1):
        part = beginning(store, most, BYTES)
        pieces = np.split(np.asarray(part.tokens), part.starts[1:])
        wholes = np.split(np.asarray(store.tokens), store.starts[1:])
        assert len(part) == most
        assert part.bytes == sum(token != BYTES.end_of_text for token in part.tokens.tolist())
        found = {whole[0]: 0 for whole in wholes}
        for piece in pieces:
            whole = next(whole for whole in wholes if whole[0] == piece[0])
            assert piece.tolist() == whole[: len(piece)].tolist()
            found[piece[0]] = len(piece)
        for whole in wholes:
            assert abs(found[whole[0]] - most * len(whole) / len(store)) <= 1


def test_the_beginning_of_many_documents_is_the_first_of_them() -> None:
    texts = [f"document {n}" for n in range(20)]
    store = open_store(Corpus("many", tuple(Document(t, t) for t in texts)), BYTES)
    part = beginning(store, 25, BYTES)
    assert part.tokens.tolist() == store.tokens[:25].tolist()
    assert (part.starts.tolist(), part.bytes) == ([0, 11, 22], 23)


def test_empty_corpus() -> None:
    with pytest.raises(BadInput, match="made is empty"):
        open_store(Corpus("made", ()), BYTES)


def test_unknown_character_names_its_document() -> None:
    tokenizer = make_tokenizer("characters", Corpus("ab", (Document("ab", ""),)))
    with pytest.raises(BadInput, match=r"^a: character 'n' \(U\+006E\) at offset 0"):
        open_store(CORPUS, tokenizer)


def test_a_user_without_a_home_folder_has_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert not str(cache_folder()).startswith("~")
