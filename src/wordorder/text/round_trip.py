"""Whether a tokenizer that someone brings gives a text back.

What it drops, or makes one unknown token of, no model can write. Its bytes must not be divided by
either: a vocabulary of six words would score fewer bits per byte than one that spells everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from wordorder.text.user_text import MOST_SHOWN, shown

CHUNK = 2000  # characters tried at once
MOST_CHARACTERS = 2_000_000  # tried in all, evenly over the text


class RoundTrip(NamedTuple):
    """How much of a text comes back from its tokens.

    Args:
        words: that were tried.
        lost: of them, not found in what came back.
        example: the first place that differs, as it was and as it came back; "" where none does.
    """

    words: int
    lost: int
    example: str

    @property
    def lossless(self) -> bool:
        """Whether everything that was tried came back."""
        return not self.example

    @property
    def note(self) -> str:
        """What to say of it, one sentence; "" where nothing is lost."""
        if self.lossless:
            return ""
        lost = f"of {self.words:,} words {self.lost:,} do" if self.lost else "its white space does"
        return (
            f"the tokenizer does not give this text back: {lost} not come back "
            f"({self.example}), so no bits per byte are given"
        )


def round_trip(texts: Sequence[str], back: Callable[[str], str]) -> RoundTrip:
    """Try a tokenizer on texts.

    A blank at the very beginning does not count, since many tokenizers add or strip one there.

    Args:
        back: what comes back of a text: encoded and decoded.
    """
    words, lost, example = 0, 0, ""
    for chunk in _chunks(texts):
        returned = back(chunk)
        before, after = chunk.split(), returned.split()
        words += len(before)
        if returned.lstrip(" ") == chunk.lstrip(" "):
            continue
        found = SequenceMatcher(None, before, after, autojunk=False)
        lost += len(before) - sum(block.size for block in found.get_matching_blocks())
        example = example or _difference(found, chunk, returned)
    return RoundTrip(words, lost, example)


def _chunks(texts: Sequence[str]) -> Iterator[str]:
    total = sum(map(len, texts))
    stride = max(1, -(-total // MOST_CHARACTERS))
    number = 0
    for text in texts:
        for start in range(0, len(text), CHUNK):
            if number % stride == 0:
                yield text[start : start + CHUNK]
            number += 1


def _difference(words: SequenceMatcher[str], before: str, after: str) -> str:
    """Return the first words that differ, or else the first characters: "'cats' as 'cat s'"."""
    for what, *places in words.get_opcodes():
        if what != "equal":
            first, end, other, other_end = places
            was, became = words.a[first:end], words.b[other:other_end]
            return f"{shown(' '.join(was))} as {shown(' '.join(became))}"
    same = next(
        (n for n, (x, y) in enumerate(zip(before, after, strict=False)) if x != y),
        min(len(before), len(after)),
    )
    start = max(0, same - MOST_SHOWN // 4)
    return f"{shown(before[start:])} as {shown(after[start:])}"
