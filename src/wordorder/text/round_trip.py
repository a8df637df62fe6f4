"""Tests whether a user's tokenizer is lossless: whether decoding restores the text.

Characters that it drops or maps to an unknown token cannot be generated. They must not be counted
for bits per byte either: otherwise a vocabulary of six words would score fewer bits per byte than a
lossless one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from difflib import SequenceMatcher
from typing import NamedTuple

from wordorder.text.user_text import MOST_SHOWN, shown

CHUNK = 2000  # characters compared at once
MOST_CHARACTERS = 2_000_000  # compared in all, evenly spaced over the text


class RoundTrip(NamedTuple):
    """How much of a text is restored from its tokens.

    Args:
        words: number of words compared.
        lost: number of those that are not in the decoded text.
        example: the first difference, "'cats' as 'cat s'"; "" without differences.
    """

    words: int
    lost: int
    example: str

    @property
    def lossless(self) -> bool:
        """Whether the decoded text is the same."""
        return not self.example

    @property
    def note(self) -> str:
        """A sentence about the loss; "" if the tokenizer is lossless."""
        if self.lossless:
            return ""
        words = f"{self.lost:,} of {self.words:,} words are lost"
        loss = words if self.lost else "white space changes"
        return (
            f"the tokenizer does not restore this text: {loss} ({self.example}), so bits per byte "
            "cannot be computed"
        )


def round_trip(
    texts: Iterable[str],
    encode_and_decode: Callable[[str], str],
    characters: int | None = None,
) -> RoundTrip:
    """Encode and decode texts, and compare.

    Spaces at the start are ignored, since many tokenizers add or strip one there.

    Args:
        characters: number of characters of all texts; None counts them, in a sequence.
    """
    if characters is None:
        characters = sum(map(len, texts))
    words, lost, example = 0, 0, ""
    for chunk in _chunks(texts, characters):
        decoded = encode_and_decode(chunk)
        before, after = chunk.split(), decoded.split()
        words += len(before)
        if decoded.lstrip(" ") == chunk.lstrip(" "):
            continue
        matcher = SequenceMatcher(None, before, after, autojunk=False)
        lost += len(before) - sum(block.size for block in matcher.get_matching_blocks())
        example = example or _difference(matcher, chunk, decoded)
    return RoundTrip(words, lost, example)


def _chunks(texts: Iterable[str], characters: int) -> Iterator[str]:
    stride = max(1, -(-characters // MOST_CHARACTERS))
    number = 0
    for text in texts:
        for start in range(0, len(text), CHUNK):
            if number % stride == 0:
                yield text[start : start + CHUNK]
            number += 1


def _difference(words: SequenceMatcher[str], before: str, after: str) -> str:
    """Return the first words that differ, else the first characters: "'cats' as 'cat s'"."""
    for operation, first, end, other_first, other_end in words.get_opcodes():
        if operation != "equal":
            original, decoded = before.split()[first:end], after.split()[other_first:other_end]
            return f"{shown(' '.join(original))} as {shown(' '.join(decoded))}"
    same = next(
        (n for n, (x, y) in enumerate(zip(before, after, strict=False)) if x != y),
        min(len(before), len(after)),
    )
    start = max(0, same - MOST_SHOWN // 4)
    return f"{shown(before[start:])} as {shown(after[start:])}"
