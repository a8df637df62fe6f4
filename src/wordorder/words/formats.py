"""Reads and writes word vectors: word2vec's text and binary format and GloVe's.

    word2vec text     "WORDS DIMENSIONS", then a word and its numbers on each line
    GloVe text        the same without that first line
    word2vec binary   that first line, then a word, a space and its numbers as float32

The format is detected from the content, because file suffixes do not tell it. gensim's
`load_word2vec_format` is not used: it takes 23 seconds for 400,000 x 100 numbers of text where this
takes 3, splits GloVe's ". . ." at its spaces, and does not report which line is wrong.

Bytes of a word that are not UTF-8, which published files have, become U+FFFD. A byte order mark
at the beginning is skipped.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any

import numpy as np

from wordorder.atomic import replacing
from wordorder.errors import BadInput
from wordorder.numerals import counted
from wordorder.text.compressed import compression_of, damage_named, decompressed, plain_name
from wordorder.words.vectors import Floats, Vectors

BLOCK = 1 << 22  # bytes read at once
SNIFFED = 1 << 12  # bytes from which text and binary numbers are told apart
LARGEST = float(np.finfo(np.float32).max)
LONGEST_WORD = 1 << 12  # bytes; a longer stretch without a space means a damaged file
CONTROLS = bytes(set(range(32)) - set(b"\t\n\r"))


def read(path: Path, progress: Callable[[float], Any] = lambda _: None) -> tuple[list[str], Floats]:
    """Return the words of a file and their vectors (words, dimensions) float32.

    Args:
        progress: called with the fraction of the file read so far.

    Raises:
        BadInput: a line has too few or too many numbers, or a field that is not a finite number;
            the file ends too early, or holds no vectors. The message names the line.
    """
    size = max(1, path.stat().st_size)
    try:
        with path.open("rb") as raw, damage_named(path, str(path)):
            file = decompressed(raw, path)
            words, numbers = _read(path, file, lambda: progress(min(1.0, raw.tell() / size)))
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read ({error.strerror}): check its permissions and its disk",
            code="words.unreadable",
        ) from None
    if not words:
        raise BadInput(
            f"{path} holds no vectors: give a file with a vector on each line",
            code="words.no-vectors",
        )
    return words, np.frombuffer(numbers, "<f4").reshape(len(words), -1)


def write(path: Path, vectors: Vectors) -> None:
    """Write vectors to a file, which appears only when it is complete.

    The format is word2vec's binary one if the name ends in .bin, else its text format; both also
    .gz, .bz2, .xz or .zst. Text has the fewest digits from which the same float32 is read.
    """
    compression, binary = compression_of(path), plain_name(path).lower().endswith(".bin")
    with (
        replacing(path) as beside,
        beside.open("wb") as raw,
        nullcontext(raw) if compression is None else compression.file(raw, "wb") as file,
    ):
        file.write(f"{len(vectors)} {vectors.matrix.shape[1]}\n".encode())
        for word, row in zip(vectors.names, vectors.matrix.astype("<f4", copy=False), strict=True):
            numbers = row.tobytes() if binary else " ".join(map(str, row)).encode()
            file.write(word.encode() + b" " + numbers + b"\n")


def _read(path: Path, file: IO[bytes], tell: Callable[[], Any]) -> tuple[list[str], bytearray]:
    first = file.readline().removeprefix(codecs.BOM_UTF8)
    count, dimensions = _header(path, first)
    lines = file.readlines(SNIFFED) if count else [first]
    if count and _is_binary(lines):
        return _read_binary(path, file, b"".join(lines), count, dimensions, tell)
    if not count and first.translate(None, CONTROLS) != first:
        raise BadInput(
            f"{path} is neither text in UTF-8 nor word2vec's binary format: give vectors as text, "
            "such as the .vec file of fastText",
            code="words.other-binary",
        )
    return _read_text(path, file, lines, count, dimensions, tell)


def _header(path: Path, line: bytes) -> tuple[int, int]:
    """Return words and dimensions if this is a word2vec header line, else zeros."""
    fields = line.split()
    if len(fields) != 2 or not all(field.isdigit() for field in fields):
        return 0, 0
    count, dimensions = map(int, fields)
    if not count or not dimensions:
        raise BadInput(
            f"{path}, line 1 announces {counted(count, 'word')} of {counted(dimensions, 'number')}:"
            " give a file that holds vectors",
            code="words.empty-header",
        )
    return count, dimensions


def _is_binary(lines: list[bytes]) -> bool:
    """Return whether this is binary: no row of text, and bytes that text does not have."""
    begin = b"".join(lines)
    row = lines[0].split()[1:] if lines else []
    if row and all(map(_is_number, row)):
        return False
    try:
        begin.decode()
    except UnicodeDecodeError:
        return True
    return begin.translate(None, CONTROLS) != begin


def _read_text(
    path: Path,
    file: IO[bytes],
    lines: list[bytes],
    count: int,
    dimensions: int,
    tell: Callable[[], Any],
) -> tuple[list[str], bytearray]:
    """Read the text formats; `lines` are the first lines, already taken from `file`.

    Args:
        count: words that the header announces; 0 if there is no header.
    """
    number = 2 if count else 1  # the next line's
    words: list[str] = []
    numbers = bytearray()
    while lines:
        dimensions = dimensions or next(
            (len(row) - 1 for line in lines if (row := line.split())), 0
        )
        try:
            more, block = _block(lines, dimensions)
        except ValueError:
            expected = "line 1 announces" if count else "the lines before have"
            wrong = _problem(lines, number, dimensions, expected)
            raise BadInput(f"{path}, {wrong}", code="words.wrong-line") from None
        words += more
        numbers += block.tobytes()
        number += len(lines)
        tell()
        lines = file.readlines(BLOCK)
    if count and len(words) != count:
        how = "too early" if len(words) < count else "too late"
        raise BadInput(
            f"{path} ends {how}: its first line announces {counted(count, 'word')}, but it holds "
            f"{len(words):,}: download it again, or correct that line",
            code="words.wrong-count",
        )
    return words, numbers


def _block(lines: list[bytes], dimensions: int) -> tuple[list[str], Floats]:
    """Parse lines into words and numbers (words, dimensions).

    Raises:
        ValueError: a line is wrong.
    """
    words: list[str] = []
    fields: list[bytes] = []
    for line in lines:
        row = line.split()
        if row:
            count = len(row) - dimensions
            if (count != 1 or not dimensions) and _is_wrong(row, dimensions):
                raise ValueError
            words.append(b" ".join(row[:count]).decode(errors="replace"))
            fields += row[count:]
    with np.errstate(over="ignore"):  # overflow becomes inf, which is refused below
        numbers = np.array(fields, "<f4").reshape(len(words), dimensions)
    if not np.isfinite(numbers).all():
        raise ValueError
    return words, numbers


def _is_wrong(row: list[bytes], dimensions: int) -> bool:
    """Return whether the count of numbers is wrong; a GloVe "word" may hold spaces (". . .")."""
    words = len(row) - dimensions
    return not dimensions or words < 1 or (words > 1 and _is_number(row[words - 1]))


def _problem(lines: list[bytes], start: int, dimensions: int, expected: str) -> str:
    """Describe the first wrong line."""
    for number, line in enumerate(lines, start):
        row = line.split()
        if row and _is_wrong(row, dimensions):
            usual = f"{expected} {dimensions:,}" if dimensions else "a vector has at least one"
            return (
                f"line {number}: a word and {counted(len(row) - 1, 'number')}, but {usual}: "
                "correct or remove this line"
            )
        if wrong := [field for field in row[-dimensions:] if not _is_number(field)]:
            return (
                f"line {number}: {wrong[0].decode(errors='replace')!r} is not a finite number: "
                "give a file with a word and its numbers on each line"
            )
    raise AssertionError("one of the lines is wrong")


def _is_number(field: bytes) -> bool:
    try:
        return abs(float(field)) <= LARGEST
    except ValueError:
        return False


def _read_binary(
    path: Path, file: IO[bytes], held: bytes, count: int, dimensions: int, tell: Callable[[], Any]
) -> tuple[list[str], bytearray]:
    """Read the binary format; `held` are bytes already taken from `file`."""
    width, position = 4 * dimensions, 0
    words: list[str] = []
    numbers = bytearray()
    for number in range(1, count + 1):
        if len(held) - position < LONGEST_WORD + width:
            held, position = held[position:] + file.read(BLOCK + LONGEST_WORD + width), 0
            tell()
        space = held.find(b" ", position, position + LONGEST_WORD)
        end = space + 1 + width
        if space < 0 or end > len(held):
            damaged = len(held) - position > LONGEST_WORD + width
            wrong = "is damaged" if damaged else f"ends too early, at byte {file.tell():,}"
            raise BadInput(
                f"{path} {wrong}: word {number:,} of the {count:,} that its first line announces "
                f"should begin at byte {file.tell() - len(held) + position:,}: download it again",
                code="words.damaged-binary",
            )
        words.append(held[position:space].lstrip(b"\n").decode(errors="replace"))
        numbers += held[space + 1 : end]
        position = end
    finite = np.isfinite(np.frombuffer(numbers, "<f4").reshape(len(words), -1)).all(1)
    if not finite.all():
        word = words[int(finite.argmin())]
        raise BadInput(
            f"{path}: the vector of {word!r} holds an infinite number or NaN: download it again",
            code="words.not-finite",
        )
    return words, numbers
