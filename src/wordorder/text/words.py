"""What a word is, in every script: the one place where text is cut into words.

A word is letters with the combining marks on them (vowel signs of Hindi, Tamil and Thai, points of
Arabic and Hebrew, accents that are characters of their own), with joiners between them, and with
the apostrophes inside it. Python's `\\w` has letters without the marks, and would end a Hindi word
at every vowel sign. Text is composed (NFC) first, so that é is one word's letter however it was
typed.

Not here: cutting text that has no spaces (Chinese, Japanese, Thai), which takes a dictionary.
`note_of_spaces` says where text is such.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import islice

APOSTROPHES = str.maketrans({"’": "'"})
JOINERS = "\u200c\u200d"  # zero-width non-joiner and joiner

# Scripts written without spaces between words. In the first, words are a character or two long.
IDEOGRAPHS = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u30ff\u3100-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
OTHERS = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\ua980-\ua9df\uaa60-\uaa7f"
)
IDEOGRAPH = re.compile(f"[{IDEOGRAPHS}]")
UNSPACED = re.compile(f"[{IDEOGRAPHS}{OTHERS}]")
# A word longer than this is none, where most are: by script. German and Finnish have a median of 6
# to 8, Malayalam of 10; Thai words have 4, and clauses of Chinese 7.
LONGEST_USUAL = {"ideographs": 4, "unspaced": 8, "spaced": 15}
SAMPLE_WORDS, SAMPLE_CHARACTERS = 20_000, 200_000  # the second of one text


def normalized(text: str) -> str:
    """Return text composed (NFC), so that what looks alike compares alike."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def words_of(text: str) -> list[str]:
    """Return the words of a text as they are written, composed, with straight apostrophes."""
    return _word().findall(normalized(text).translate(APOSTROPHES))


def lower_words_of(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return words_of(text.lower())


def note_of_spaces(texts: Iterable[str], name: str, then: str) -> tuple[str, ...]:
    """Say so where most words are too long to be words, as they are in text without spaces.

    Args:
        texts: of which the first words are looked at.
        name: what they are called.
        then: what follows, the end of the note.
    """
    lengths: list[int] = []
    ideographs = unspaced = 0
    words = (word for text in texts for word in words_of(text[:SAMPLE_CHARACTERS]))
    for word in islice(words, SAMPLE_WORDS):
        lengths.append(len(word))
        ideographs += bool(IDEOGRAPH.search(word))
        unspaced += bool(UNSPACED.search(word))
    if not lengths:
        return ()
    half = len(lengths) / 2
    kind = "ideographs" if ideographs > half else "unspaced" if unspaced > half else "spaced"
    median = sorted(lengths)[len(lengths) // 2]
    if median <= LONGEST_USUAL[kind]:
        return ()
    return (
        f"most words of {name} are longer than {min(median - 1, 6)} characters (half of them have "
        f"{median} or more): is this text without spaces? {then}",
    )


def is_unspaced(text: str) -> bool:
    """Return whether a text has no spaces, by its script or because it is too long for a word."""
    whole = text.strip()
    if not whole or re.search(r"\s", whole):
        return False
    return bool(UNSPACED.search(whole)) or len(whole) > 2 * LONGEST_USUAL["spaced"]


@cache
def _word() -> re.Pattern[str]:
    part = rf"[^\W\d_]+(?:[{_marks()}{JOINERS}]+[^\W\d_]*)*"
    return re.compile(rf"{part}(?:'{part})*")


@cache
def _marks() -> str:
    """Return all combining marks as ranges of a character class."""
    ranges: list[list[int]] = []
    for point in _candidates():
        if unicodedata.category(chr(point))[0] != "M":
            continue
        if ranges and ranges[-1][1] == point - 1:
            ranges[-1][1] = point
        else:
            ranges.append([point, point])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


def _candidates() -> Iterator[int]:
    """Where marks are: looking through every plane would take a tenth of a second."""
    yield from range(0x300, 0x1F000)
    yield from range(0xE0100, min(0xE01F0, sys.maxunicode))
