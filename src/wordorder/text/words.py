"""Splits text into words, in any script.

A word consists of letters with their combining marks (vowel signs of Hindi, Tamil and Thai, points
of Arabic and Hebrew, separate accents), joiners between them, and apostrophes within the word.
Python's `\\w` excludes combining marks and would end a Hindi word at every vowel sign. Text is
composed (NFC) first, so that both encodings of é are the same letter.

Not here: segmentation of text without spaces (Chinese, Japanese, Thai), which needs a dictionary.
`note_of_spaces` detects such text.
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
# If the median word is longer, the text has no spaces between words; by kind of script. The median
# word of German and Finnish has 6 to 8 characters, of Malayalam 10; a Thai word has 4, and a
# clause of Chinese 7.
LONGEST_USUAL = {"ideographs": 4, "unspaced": 8, "spaced": 15}
SAMPLE_WORDS, SAMPLE_CHARACTERS = 20_000, 200_000  # in all; of each document


def normalized(text: str) -> str:
    """Return text composed (NFC), so that text that looks the same compares equal."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def words_of(text: str) -> list[str]:
    """Return the words of a text, composed (NFC), with straight apostrophes."""
    return _word().findall(normalized(text).translate(APOSTROPHES))


def lower_words_of(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return words_of(text.lower())


def note_of_spaces(texts: Iterable[str], name: str, consequence: str) -> tuple[str, ...]:
    """Return a note if most words are too long, as in text without spaces; else ().

    Args:
        texts: documents, whose first words are examined.
        name: name of the corpus.
        consequence: the end of the note.
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
        f"{median} or more): is this text without spaces? {consequence}",
    )


def is_unspaced(text: str) -> bool:
    """Return whether a text has no spaces and is not one word, by its script or its length."""
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
    """Yield the ranges that contain combining marks; all planes would take a tenth of a second."""
    yield from range(0x300, 0x1F000)
    yield from range(0xE0100, min(0xE01F0, sys.maxunicode))
