"""Reads text files that are larger than memory, block by block."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from wordorder.errors import BadInput
from wordorder.text.compressed import damage_named, decompressed
from wordorder.text.pieces import pieces
from wordorder.text.user_text import MARKS, printable, read_text

BLOCK_CHARACTERS = 1 << 20
# A document of more than twice as many characters is cut at the ends of lines into several.
LONGEST_DOCUMENT = 2_000_000
LINE_END = re.compile(r"\n")
MOST_EXPLAINED_BYTES = 1 << 30  # a file of this size is read whole to explain what is wrong with it


def text_blocks(path: Path) -> Iterator[str]:
    """Yield the text of a regular file, plain or compressed, decoded as `user_text.decode` does.

    Raises:
        BadInput: the file cannot be read, or is not text.
    """
    try:
        with path.open("rb") as file, damage_named(path, printable(path)):
            raw = decompressed(file, path)
            start = raw.peek(4)[:4]
            encoding = next((MARKS[m] for m in MARKS if start.startswith(m)), "utf-8-sig")
            text = io.TextIOWrapper(raw, encoding)  # makes every line end a newline
            while block := text.read(BLOCK_CHARACTERS):
                if "\0" in block:
                    raise ValueError("a zero byte")
                yield block
    except (OSError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        if path.stat().st_size <= MOST_EXPLAINED_BYTES:
            read_text(path)
        raise BadInput(
            f"{printable(path)} cannot be read as text ({error}): it must be UTF-8",
            code="text.large-file-unreadable",
        ) from None


def text_lines(blocks: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a text without their ends, as `text.split("\\n")` does."""
    begun: list[str] = []  # parts of a line that goes on; joined once, however long it is
    for block in blocks:
        first, *others = block.split("\n")
        begun.append(first)
        if others:
            *whole, rest = others
            yield "".join(begun)
            yield from whole
            begun = [rest]
    yield "".join(begun)


def split_blocks(blocks: Iterable[str], separator: re.Pattern[str]) -> Iterator[tuple[str, bool]]:
    """Yield the documents of a text, and whether the text has a separator up to there.

    A document that is too long to hold is cut as `cut_long` does.
    """
    rest, separated = "", False
    for block in blocks:
        *parts, rest = separator.split(rest + block)
        separated = separated or bool(parts)
        for part in parts:
            yield part, True
        if len(rest) > 2 * LONGEST_DOCUMENT + BLOCK_CHARACTERS:  # holds a separator cut in two
            *parts, rest = cut_long(rest)
            for part in parts:
                yield part, separated
    yield rest, separated


def cut_long(text: str) -> Iterator[str]:
    """Cut a text of more than twice `LONGEST_DOCUMENT` at the ends of lines."""
    return pieces(text, LINE_END, LONGEST_DOCUMENT)
