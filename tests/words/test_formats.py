"""Files of vectors: what is written is read again, others' too, and what is broken is named."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors

from wordorder.cli.main import main
from wordorder.errors import BadInput
from wordorder.text import compressed
from wordorder.words import formats
from wordorder.words.formats import read, write
from wordorder.words.vectors import Vectors

NAMES = ["v.txt", "v.vec.gz", "v.bin", "v.bin.gz"]


def written(path: Path, content: str | bytes) -> Path:
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("block", [1, 100, 1 << 22])
def test_what_is_written_is_read_again(
    tmp_path: Path,
    make_drawn: Callable[..., Vectors],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    block: int,
) -> None:
    monkeypatch.setattr(formats, "BLOCK", block)
    monkeypatch.setattr(formats, "LONGEST_WORD", 30)
    drawn = make_drawn(130, 9)
    vectors = Vectors("", ["Zürich", "東京", "w5", "re\u0301el", *drawn.names[4:]], drawn.matrix)
    write(tmp_path / name, vectors)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    words, rows = read(tmp_path / name)
    assert words == vectors.names
    assert rows.dtype == np.float32 and (rows == vectors.matrix).all()


@pytest.mark.parametrize("name", NAMES)
def test_gensim_reads_what_is_written(
    tmp_path: Path,
    make_drawn: Callable[..., Vectors],
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    vectors = make_drawn(20, 5)
    write(tmp_path / name, vectors)
    theirs = KeyedVectors.load_word2vec_format(str(tmp_path / name), binary=".bin" in name)
    assert theirs.index_to_key == vectors.names and not caplog.records
    assert (theirs.vectors == vectors.matrix).all()


@pytest.mark.parametrize("name", NAMES)
def test_what_gensim_writes_is_read(
    tmp_path: Path, make_drawn: Callable[..., Vectors], name: str
) -> None:
    vectors = make_drawn(20, 5)
    theirs = KeyedVectors(5)
    theirs.add_vectors(vectors.names, vectors.matrix)
    theirs.save_word2vec_format(str(tmp_path / name), binary=".bin" in name)
    words, rows = read(tmp_path / name)
    assert sorted(words) == sorted(vectors.names)
    order = [words.index(name) for name in vectors.names]
    np.testing.assert_allclose(rows[order], vectors.matrix, atol=1e-6)


def test_the_form_is_told_by_the_content_not_the_name(
    tmp_path: Path, make_drawn: Callable[..., Vectors]
) -> None:
    vectors = make_drawn(3, 4)
    write(tmp_path / "v.bin", vectors)
    (tmp_path / "v.bin").rename(tmp_path / "v.txt")
    assert read(tmp_path / "v.txt")[0] == vectors.names
    words, rows = read(written(tmp_path / "text.bin", "2 2\na 1 2\nb 3 4\n"))
    assert words == ["a", "b"] and rows.tolist() == [[1, 2], [3, 4]]


def test_binary_words_may_follow_each_other_without_a_line_end(tmp_path: Path) -> None:
    rows = np.array([[1.5, -2], [0.25, 1e-20]], np.float32)
    data = b"2 2\n" + b"".join(w + b" " + r.tobytes() for w, r in zip((b"a", b"bc"), rows))  # noqa: B905
    words, found = read(written(tmp_path / "v.bin", data))
    assert words == ["a", "bc"] and (found == rows).all()


@pytest.mark.parametrize("begin", [b"\n", b" \n", b"\t\x0b\n"])
def test_a_binary_vector_may_begin_with_the_byte_of_a_line_end(
    tmp_path: Path, begin: bytes
) -> None:
    row = np.frombuffer(begin + b"\x00\x80\x3f\xff"[len(begin) - 4 :] + b"\x01\x80\x80\x3f", "<f4")
    words, found = read(written(tmp_path / "v.bin", b"1 2\na " + row.tobytes()))
    assert words == ["a"] and found.tolist() == [row.tolist()]


def test_glove_has_no_first_line(tmp_path: Path) -> None:
    text = "the 0.5 -1e-3 2\n. . . 1 2 3\nat x@y.com 4 5 6\r\nend 7 8 9 \n\n"
    words, rows = read(written(tmp_path / "glove.txt", text))
    assert words == ["the", ". . .", "at x@y.com", "end"]
    assert rows[0].tolist() == pytest.approx([0.5, -0.001, 2]) and rows[3].tolist() == [7, 8, 9]


def test_a_byte_order_mark_is_no_part_of_the_first_word(tmp_path: Path) -> None:
    assert read(written(tmp_path / "g.txt", "\ufeffa 1 2\r\nb 3 4\r\n"))[0] == ["a", "b"]
    assert read(written(tmp_path / "w.txt", "\ufeff2 2\na 1 2\nb 3 4\n"))[0] == ["a", "b"]


def test_words_that_are_no_utf8_are_read(tmp_path: Path) -> None:
    words, rows = read(written(tmp_path / "v.txt", b"2 2\ncaf\xe9 1 2\nb 3 4\n"))
    assert words == ["caf\ufffd", "b"] and rows.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2 3\na 1 2 3\nb 1 2\n", "v.txt, line 3: a word and 2 numbers, but line 1 announces 3"),
        ("2 3\na 1 2 3\nb 1 2 3 4\n", "line 3: a word and 4 numbers, but line 1 announces 3"),
        (
            "a 1 2 3\nb 1 2 3\n\nc 1 2\n",
            "line 4: a word and 2 numbers, but the lines before have 3",
        ),
        ("a 1 2 3\nb 1 2 3 4\n", "line 2: a word and 4 numbers"),
        ("a\nb\n", "line 1: a word and no numbers, but a vector has at least one"),
        ("a 1 2\nb 1 x\n", "line 2: 'x' is not a finite number"),
        ("a 1 2\nb nan 1\n", "line 2: 'nan' is not a finite number"),
        ("a 1 2\nb 1 1e99\n", "line 2: '1e99' is not a finite number"),
        ("3 2\na 1 2\nb 1 2\n", "ends too early: its first line announces 3 words, but it holds 2"),
        ("1 2\na 1 2\nb 1 2\n", "ends too late: its first line announces 1 word, but it holds 2"),
        ("0 5\n", "line 1 announces no words of 5 numbers"),
        ("", "holds no vectors"),
        ("It was the best of times.\n", "'was' is not a finite number: give a file with a word"),
    ],
)
@pytest.mark.parametrize("block", [1, 1 << 22])
def test_a_broken_line_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, text: str, said: str
) -> None:
    monkeypatch.setattr(formats, "BLOCK", block)
    with pytest.raises(BadInput, match=re.escape(said)):
        read(written(tmp_path / "v.txt", text))


def test_a_line_far_into_a_file_is_named(tmp_path: Path) -> None:
    lines = [f"w{number} 1 2 3" for number in range(5000)]
    lines[4321] = "w4321 1 2"
    with pytest.raises(BadInput) as caught:
        read(written(tmp_path / "v.txt.gz", "\n".join(lines)))
    assert caught.value.code == "words.wrong-line" and "line 4322" in str(caught.value)


@pytest.mark.parametrize("kept", [10, 20, 41])
def test_a_binary_file_that_ends_too_early_says_where(
    tmp_path: Path, make_drawn: Callable[..., Vectors], kept: int
) -> None:
    write(tmp_path / "v.bin", make_drawn(3, 4))
    data = (tmp_path / "v.bin").read_bytes()[:kept]
    (tmp_path / "v.bin").write_bytes(data)
    word = 1 if kept < 24 else 2
    with pytest.raises(BadInput) as caught:
        read(tmp_path / "v.bin")
    assert caught.value.code == "words.damaged-binary"
    assert f"at byte {kept}: word {word} of the 3" in str(caught.value)


def test_a_binary_vector_that_is_not_finite_is_named(tmp_path: Path) -> None:
    rows = np.array([[1, 2], [np.inf, 1]], np.float32)
    data = b"2 2\na " + rows[0].tobytes() + b"\nb " + rows[1].tobytes()
    with pytest.raises(BadInput) as caught:
        read(written(tmp_path / "v.bin", data))
    assert caught.value.code == "words.not-finite" and "'b'" in str(caught.value)


def test_a_gzip_file_that_was_cut_short(tmp_path: Path, make_drawn: Callable[..., Vectors]) -> None:
    write(tmp_path / "v.txt.gz", make_drawn(300, 9))
    path = tmp_path / "v.txt.gz"
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(BadInput, match="is not a complete gzip file"):
        read(path)
    path.write_text("a 1 2\n", encoding="utf-8")  # only claims to be compressed
    with pytest.raises(BadInput, match="is not a complete gzip file"):
        read(path)


def test_progress_ends_at_one(tmp_path: Path, make_drawn: Callable[..., Vectors]) -> None:
    shares: list[float] = []
    write(tmp_path / "v.txt", make_drawn(300, 9))
    read(tmp_path / "v.txt", shares.append)
    assert shares[-1] == 1 and sorted(shares) == shares


def test_a_file_that_could_not_be_written_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gensim")
    monkeypatch.setattr(compressed, "zstd", None)
    (tmp_path / "text.txt").write_text("some words of a text " * 50)
    words = ["--data", str(tmp_path / "text.txt"), "--out", str(tmp_path / "v.vec.zst")]
    assert main(["words", "train", *words]) == 2
    assert "backports.zstd" in capsys.readouterr().err


def test_a_binary_file_of_another_kind_is_named_in_one_line(tmp_path: Path) -> None:
    fast_text = written(tmp_path / "cc.bin", b"\xba\x16\x4f\x2f\x0c\x00\x00\x00" + bytes(300))
    with pytest.raises(BadInput, match="nor word2vec's binary format") as caught:
        read(fast_text)
    assert caught.value.code == "words.other-binary"
