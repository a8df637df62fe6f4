"""Files of word vectors: word2vec's text and binary form and GloVe's text, each also as .gz.

    word2vec text     "WORDS DIMENSIONS", then a word and its numbers on each line
    GloVe text        the same without that first line
    word2vec binary   that first line, then a word, a blank and its numbers as float32

The form is told by what the file holds, since all three are found under any suffix. A file is
read block by block, so that one larger than the memory can be put into a cache.

Words that are no UTF-8, which published files have, are read with U+FFFD in place of what is not.
A byte order mark before the first line is left out.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from wordorder.atomic import replacing
from wordorder.errors import BadInput
from wordorder.numerals import counted
from wordorder.text.user_text import not_whole_gzip
from wordorder.words.vectors import Floats, Vectors

BLOCK = 1 << 22  # bytes read at once
SNIFFED = 1 << 12  # bytes that tell text from numbers
LARGEST = float(np.finfo(np.float32).max)
LONGEST_WORD = 1 << 12  # bytes; where no blank comes sooner, this is no file of vectors
CONTROLS = bytes(set(range(32)) - set(b"\t\n\r"))


class Block(NamedTuple):
    """Some words of a file and their vectors (words, dimensions)."""

    words: list[str]
    rows: Floats


class Promised(NamedTuple):
    """How much the first line of a file says there is."""

    words: int
    dimensions: int


def read_blocks(path: Path, progress: Callable[[float], Any] = lambda _: None) -> Iterator[Block]:
    """Yield the words and vectors of a file, in its order.

    Args:
        progress: called with the share of the file that has been read.

    Raises:
        BadInput: a line with another number of numbers than the others, or with something that
            is no number (which line); a file that ends too early (where); none at all.
    """
    size = max(1, path.stat().st_size)
    words = 0
    try:
        with _opened(path) as (file, raw):
            for block in _blocks(path, file):
                words += len(block.words)
                yield block
                progress(min(1.0, raw.tell() / size))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise not_whole_gzip(str(path), error) from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}): check it") from None
    if not words:
        raise BadInput(f"{path} holds no vector")


def write(path: Path, vectors: Vectors) -> None:
    """Write vectors, all or none.

    Word2vec's binary form where the name ends in .bin, its text form otherwise; both also .gz.
    """
    name = path.name.lower()
    binary = name.removesuffix(".gz").endswith(".bin")
    packed = name.endswith(".gz")
    with (
        replacing(path) as beside,
        gzip.open(beside, "wb", 6) if packed else beside.open("wb") as file,
    ):
        file.write(f"{len(vectors)} {vectors.matrix.shape[1]}\n".encode())
        for word, row in zip(vectors.names, vectors.matrix, strict=True):
            numbers = row.astype("<f4").tobytes() if binary else _spelt(row)
            file.write(word.encode() + b" " + numbers + b"\n")


def _spelt(row: Floats) -> bytes:
    """The fewest digits that give the same float32 again."""
    return " ".join(map(str, row.tolist() if row.dtype == np.float64 else row)).encode()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The bytes of a file, and the file as it lies on the disk."""
    with path.open("rb") as raw:
        zipped = path.name.lower().endswith(".gz")
        yield (gzip.GzipFile(fileobj=raw) if zipped else raw), raw  # type: ignore[misc]


def _blocks(path: Path, file: IO[bytes]) -> Iterator[Block]:
    first = file.readline().removeprefix(codecs.BOM_UTF8)
    promised = _promised(path, first)
    lines = file.readlines(SNIFFED) if promised else [first]
    if promised and _is_binary(lines):
        yield from _binary(path, file, b"".join(lines), len(first), promised)
    else:
        yield from _Text(path, promised).blocks(file, lines)


def _promised(path: Path, line: bytes) -> Promised | None:
    fields = line.split()
    if len(fields) != 2 or not all(field.isdigit() for field in fields):
        return None
    promised = Promised(*map(int, fields))
    if not promised.words or not promised.dimensions:
        raise BadInput(f"{path}, line 1: says {line.decode().strip()!r}: no vectors")
    return promised


def _is_binary(lines: list[bytes]) -> bool:
    """Whether what follows the first line is no text: nothing a text may hold, nor a row."""
    begin = b"".join(lines)
    if lines and all(map(_is_number, lines[0].split()[1:])):
        return False
    try:
        begin.decode()
    except UnicodeDecodeError:
        return True
    return begin.translate(None, CONTROLS) != begin


class _Text:
    """Reads lines of text; `number` is that of the next one."""

    def __init__(self, path: Path, promised: Promised | None) -> None:
        self.path, self.promised = path, promised
        self.number = 2 if promised else 1
        self.dimensions = promised.dimensions if promised else 0
        self.words = 0

    def blocks(self, file: IO[bytes], lines: list[bytes]) -> Iterator[Block]:
        while lines:
            block = self._block(lines)
            self.words += len(block.words)
            if block.words:
                yield block
            lines = file.readlines(BLOCK)
        promised = self.promised
        if promised and self.words != promised.words:
            how = "ends too early" if self.words < promised.words else "goes on too long"
            raise BadInput(
                f"{self.path} {how}: its first line says {counted(promised.words, 'word')}, "
                f"and there {'is' if self.words == 1 else 'are'} {self.words:,}: "
                "fetch it again, or correct that line"
            )

    def _block(self, lines: list[bytes]) -> Block:
        words: list[str] = []
        numbers: list[bytes] = []
        start = self.number
        for line in lines:
            fields = line.split()
            if fields:
                count = self._words_of(fields)
                words.append(b" ".join(fields[:count]).decode(errors="replace"))
                numbers += fields[count:]
            self.number += 1
        try:
            with np.errstate(over="ignore"):  # is infinite then, and told below
                rows = np.array(numbers, np.float32).reshape(len(words), self.dimensions)
        except ValueError:
            rows = None
        if rows is None or not np.isfinite(rows).all():
            raise BadInput(self._no_number(lines, start))
        return Block(words, rows)

    def _words_of(self, fields: list[bytes]) -> int:
        """How many fields of a line come before its numbers: one, but for GloVe's ". . ."."""
        if not self.dimensions:
            self.dimensions = len(fields) - 1
        count = len(fields) - self.dimensions
        too_many = count > 1 and _is_number(fields[count - 1])
        if count < 1 or too_many or not self.dimensions:
            where = "line 1 says" if self.promised else "the lines before have"
            told = f"{where} {self.dimensions:,}" if self.dimensions else "a vector has some"
            raise BadInput(
                f"{self.path}, line {self.number}: a word and "
                f"{counted(len(fields) - 1, 'number')}, where {told}: correct or remove this line"
            )
        return count

    def _no_number(self, lines: list[bytes], start: int) -> str:
        for number, line in enumerate(lines, start):
            for field in line.split()[-self.dimensions :]:
                if not _is_number(field):
                    told = field.decode(errors="replace")
                    return (
                        f"{self.path}, line {number}: {told!r} is no finite number: give a file "
                        "of word vectors, a word and its numbers on each line"
                    )
        raise AssertionError("one of the lines has it")


def _is_number(field: bytes) -> bool:
    try:
        return abs(float(field)) <= LARGEST
    except ValueError:
        return False


def _binary(
    path: Path, file: IO[bytes], begin: bytes, offset: int, promised: Promised
) -> Iterator[Block]:
    """Yield the blocks of a binary file whose first line was `offset` bytes long."""
    width = 4 * promised.dimensions
    held, position = begin, 0  # of `held`, what has been read
    words: list[str] = []
    rows: list[Floats] = []
    for number in range(1, promised.words + 1):
        if len(held) - position < LONGEST_WORD + width:
            if words:
                yield _finite(path, words, rows)
                words, rows = [], []
            offset += position
            more = file.read(max(BLOCK, LONGEST_WORD + width))
            held, position = held[position:] + more, 0
        blank = held.find(b" ", position, position + LONGEST_WORD)
        end = blank + 1 + width
        if blank < 0 or end > len(held):
            whole = len(held) - position > LONGEST_WORD + width
            wrong = "is no word" if whole else f"it ends (byte {offset + len(held):,})"
            raise BadInput(
                f"{path}: where word {number:,} of the {promised.words:,} that its first line "
                f"says should be, at byte {offset + position:,}, {wrong}: fetch it again"
            )
        words.append(held[position:blank].lstrip(b"\n").decode(errors="replace"))
        rows.append(np.frombuffer(held, "<f4", promised.dimensions, blank + 1))
        position = end
    yield _finite(path, words, rows)


def _finite(path: Path, words: list[str], rows: list[Floats]) -> Block:
    block = Block(words, np.stack(rows).astype(np.float32, copy=False))
    finite = np.isfinite(block.rows).all(1)
    if not finite.all():
        word = words[int(finite.argmin())]
        raise BadInput(
            f"{path}: the vector of {word!r} holds what is no finite number: fetch it again"
        )
    return block
