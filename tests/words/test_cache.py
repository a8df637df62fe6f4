"""The cache of vectors: used while a file stays the same, and made again when it changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from wordorder.errors import BadInput
from wordorder.words import cache
from wordorder.words.cache import open_vectors
from wordorder.words.formats import write
from wordorder.words.vectors import Vectors


@pytest.fixture
def entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Path]]:
    """The folders in a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return lambda: sorted((tmp_path / "cache" / "wordorder" / "vectors").glob("*"))


@pytest.fixture
def file(tmp_path: Path, make_drawn: Callable[..., Vectors]) -> Path:
    path = tmp_path / "v.txt"
    write(path, make_drawn(50, 6))
    return path


@pytest.fixture
def no_reading(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def forbid() -> None:
        def refuse(*_: object) -> None:
            raise AssertionError("the file is read again")

        monkeypatch.setattr(cache, "read", refuse)

    return forbid


def test_a_file_is_read_once_and_mapped_from_then_on(
    file: Path,
    entries: Callable[[], list[Path]],
    no_reading: Callable[[], None],
    make_drawn: Callable[..., Vectors],
) -> None:
    first = open_vectors(file)
    no_reading()
    second = open_vectors(str(file))
    for vectors in (first, second):
        assert isinstance(vectors.matrix, np.memmap)
        assert not vectors.matrix.flags.writeable
        assert vectors.source == "v.txt" and vectors.names == make_drawn(50, 6).names
        assert (vectors.matrix == make_drawn(50, 6).matrix).all()
        np.testing.assert_allclose(vectors.norms, np.linalg.norm(vectors.matrix, axis=1), rtol=1e-6)
    assert len(entries()) == 1


@pytest.mark.parametrize("change", ["content", "time"])
def test_a_changed_file_takes_the_place_of_its_entry(
    file: Path, entries: Callable[[], list[Path]], make_drawn: Callable[..., Vectors], change: str
) -> None:
    open_vectors(file)
    if change == "content":
        write(file, make_drawn(20, 3, seed=1))
        assert open_vectors(file).matrix.shape == (20, 3)
    else:  # as long as before, and changed in the same second
        old = file.stat()
        text = file.read_text(encoding="utf-8").replace("w0 ", "q0 ")
        file.write_text(text, encoding="utf-8")
        os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns + 1))
        assert open_vectors(file).names[0] == "q0"
    assert len(entries()) == 1


@pytest.mark.parametrize("name", ["matrix.npy", "words.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "rubbish"])
def test_a_damaged_entry_is_made_again(
    file: Path, entries: Callable[[], list[Path]], name: str, damage: str
) -> None:
    before = open_vectors(file)
    path = entries()[0] / name
    data = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(data[: len(data) // 2] if damage == "cut" else b"rubbish")
    again = open_vectors(file)
    assert again.names == before.names and (again.matrix == before.matrix).all()
    assert path.read_bytes() == data


def test_an_entry_whose_parts_do_not_fit_is_made_again(
    file: Path, entries: Callable[[], list[Path]]
) -> None:
    before = np.array(open_vectors(file).matrix)  # not mapped: its file is overwritten
    for other in (before[:-1], before[:, 0], before.astype(np.float64)):
        np.save(entries()[0] / "matrix.npy", other)
        assert (open_vectors(file).matrix == before).all()


def test_nothing_pickled_is_loaded(file: Path, entries: Callable[[], list[Path]]) -> None:
    before = open_vectors(file)
    np.save(entries()[0] / "matrix.npy", np.array([[Unpickled()]], object), allow_pickle=True)
    assert open_vectors(file).names == before.names


class Unpickled:
    """Fails where it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[], object], tuple[()]]:
        return loaded, ()


def loaded() -> object:
    raise AssertionError("a pickle is loaded")


def test_an_entry_of_an_older_version_is_replaced(
    file: Path, entries: Callable[[], list[Path]]
) -> None:
    open_vectors(file)
    (entry,) = entries()
    (entry / "words.json").rename(entry / "names.json")
    np.save(entry / "norms.npy", np.zeros(50, np.float32))
    assert open_vectors(file).matrix.any() and entries() == [entry]
    assert {path.name for path in entry.iterdir()} == {"matrix.npy", "words.json"}


def test_where_the_cache_cannot_be_written_vectors_stay_in_memory(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_drawn: Callable[..., Vectors]
) -> None:
    (tmp_path / "blocked").write_text("a file", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "blocked"))
    vectors = open_vectors(file)
    assert (vectors.matrix == make_drawn(50, 6).matrix).all()
    assert not isinstance(vectors.matrix, np.memmap)


def test_a_broken_file_leaves_nothing_behind(
    tmp_path: Path, entries: Callable[[], list[Path]]
) -> None:
    (tmp_path / "bad.txt").write_text("a 1 2\nb 1\n", encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        open_vectors(tmp_path / "bad.txt")
    assert caught.value.code == "words.wrong-line" and "line 2" in str(caught.value)
    assert entries() == []


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        open_vectors(tmp_path / "nothing.vec")
    assert caught.value.code == "words.no-file-of-vectors"


def test_a_word_that_is_absent_from_a_file_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_bytes("\u00e9t\u00e9 1 2\nb 3 4\n".encode("latin1"))
    vectors = open_vectors(tmp_path / "v.txt")
    with pytest.raises(BadInput, match=r"1 of 2 words are not UTF-8: convert the file"):
        vectors.row("\u00e9t\u00e9")
    with pytest.raises(BadInput, match=r"has no word 'c': "):
        vectors.row("c")
