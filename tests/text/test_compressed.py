"""Compressed files are read as if they were plain, whichever program compressed them."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wordorder.errors import BadInput
from wordorder.text import compressed, large_files
from wordorder.text.compressed import COMPRESSIONS, plain_name
from wordorder.text.load import load_corpus
from wordorder.text.user_text import decode, read_text
from wordorder.words import formats
from wordorder.words.vectors import Vectors

zstd: Any = compressed.zstd
pytestmark = pytest.mark.skipif(zstd is None, reason="backports.zstd is not installed")
PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: zstd.compress(data),
}
each_kind = pytest.mark.parametrize("suffix", COMPRESSIONS)
TEXT = "".join(f"línea {i}\r\n" for i in range(2000))


def packed(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(PACK[path.suffix.lower()](data))
    return path


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(BadInput) as caught:
        call()
    return f"{caught.value.code}: {caught.value}"


@each_kind
def test_a_file_is_its_contents(tmp_path: Path, suffix: str) -> None:
    path = packed(tmp_path, f"a.jsonl{suffix}", b'{"text": "one"}\n{"text": "two"}\n')
    packed(tmp_path, f"b.txt{suffix.upper()}", b"three")
    assert [d.text for d in load_corpus(str(path)).documents] == ["one", "two"]
    assert [d.text for d in load_corpus(str(tmp_path)).documents] == ["one", "two", "three"]


@each_kind
def test_block_by_block_as_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(large_files, "BLOCK_CHARACTERS", 1000)
    path = packed(tmp_path, f"a.txt{suffix}", TEXT.encode("utf-16"))
    blocks = list(large_files.text_blocks(path))
    assert len(blocks) > 5
    assert "".join(blocks) == read_text(path) == TEXT.replace("\r\n", "\n")


@each_kind
def test_files_one_after_another_are_one(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(PACK[suffix](b"one ") + PACK[suffix](b"two"))
    assert read_text(path) == "".join(large_files.text_blocks(path)) == "one two"


@each_kind
@pytest.mark.parametrize("damage", ["cut", "plain"])
@pytest.mark.parametrize("most_explained", [0, 1 << 30])
def test_damage_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, damage: str, most_explained: int
) -> None:
    monkeypatch.setattr(large_files, "MOST_EXPLAINED_BYTES", most_explained)
    path = packed(tmp_path, f"a.txt{suffix}", TEXT.encode())
    path.write_bytes(path.read_bytes()[:-9] if damage == "cut" else b"plain text")
    told = f"text.damaged-compression: {path} is not a complete {COMPRESSIONS[suffix].name} file ("
    assert refused(lambda: read_text(path)).startswith(told)
    assert refused(lambda: list(large_files.text_blocks(path))).startswith(told)
    assert refused(lambda: formats.read(path)).startswith(told)


@each_kind
def test_without_its_ending_the_message_says_which(suffix: str) -> None:
    told = refused(lambda: decode(PACK[suffix](TEXT.encode()), "a"))
    assert told.startswith("text.known-binary-format: a is ")
    assert told.endswith(f"rename it to end in {suffix}")


@each_kind
def test_stray_bytes_are_removed_by_the_command_that_is_named(tmp_path: Path, suffix: str) -> None:
    path = packed(tmp_path, f"a.txt{suffix}", b"\xfe" + TEXT.encode())
    told = refused(lambda: read_text(path))
    unpack = COMPRESSIONS[suffix].unpack
    assert f"remove it with {unpack} {path} | iconv -f utf-8 -t utf-8 -c > " in told
    if shutil.which(unpack.split()[0]):
        done = subprocess.run([*unpack.split(), str(path)], capture_output=True, check=True)
        assert done.stdout == b"\xfe" + TEXT.encode()


@each_kind
@pytest.mark.parametrize("kind", ["vec", "bin"])
def test_word_vectors(tmp_path: Path, suffix: str, kind: str) -> None:
    path = tmp_path / f"v.{kind}{suffix}"
    matrix = np.arange(600, dtype=np.float32).reshape(200, 3) / 7
    formats.write(path, Vectors("v", [f"w{i}" for i in range(200)], matrix))
    words, numbers = formats.read(path)
    assert words[:2] == ["w0", "w1"]
    np.testing.assert_array_equal(numbers, matrix)
    assert path.read_bytes().startswith(COMPRESSIONS[suffix].magic)


def test_without_the_package_the_command_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = packed(tmp_path, "a.txt.zst", b"one")
    monkeypatch.setattr(compressed, "zstd", None)
    for read in (lambda: read_text(path), lambda: list(large_files.text_blocks(path))):
        assert refused(read).endswith('pip install "wordorder[data]"')


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("a.txt.gz", "a.txt"),
        ("b/a.TXT.XZ", "a.TXT"),
        ("a.txt", "a.txt"),
        ("gz", "gz"),
        ("a.zst", "a"),
    ],
)
def test_the_rest_of_a_name(name: str, plain: str) -> None:
    assert plain_name(name) == plain
