"""Cuts a text into pieces, so that tokenizing takes bounded memory and time.

A byte-level BPE first splits text into parts by a pattern and then merges within each part. A cut
between two parts changes no token. Only a text without such a boundary within a whole piece is cut
elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Qwen3.5's pattern, "qwen35" in llama.cpp. A word includes combining marks; in GPT-2's pattern a
# vowel sign ends it. llama.cpp also declares "gpt-4o" with marks, but its implementation has none.
# Source: llama.cpp, src/llama-vocab.cpp, LLAMA_VOCAB_PRE_TYPE_QWEN35 and _GPT4O.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# The end of a match is a boundary between two parts. In PATTERN a line end belongs to the
# punctuation before it, and a space to the word after it:
#     "a.\n b"  is split into  "a" ".\n" " b":  cut after "a" or after "\n", not after "."
SPACE = r"[ \t\u3000]"
BETWEEN_PARTS = re.compile(
    rf"\n(?={SPACE}*[^\s])|[^\W_](?=\s)|[^\s](?={SPACE})|[^\W_](?=[。，！？、；：])"
)
# Boundaries for GPT-2's pattern, in which no part continues from a character into white space.
BETWEEN_GPT2_PARTS = re.compile(r"[^\s](?=[ \t\r\n\u3000])|[^\W_](?=[。，！？、；：])")
# For an unknown pattern: few tokens depend on the text before the start of a line.
LINE_STARTS = re.compile(r"\n(?=[^\s])")

PIECE_CHARACTERS = 1 << 16

# The longest run of letters that merges are learned from. Longer runs (DNA, Chinese without
# punctuation) repeat too rarely to be useful, and their cost is quadratic in their length.
LONGEST_RUN = 256
LONG_RUNS = re.compile(rf"\S{{{LONGEST_RUN + 1},}}|\s{{{LONGEST_RUN + 1},}}")


def pieces(text: str, cuts: re.Pattern[str], size: int | None = None) -> Iterator[str]:
    """Cut a text into pieces of `size` to twice as many characters, and a last one.

    Args:
        cuts: the text may be cut at the end of a match; without a match it is cut at twice `size`.
        size: characters of a piece; None: `PIECE_CHARACTERS`.
    """
    size = size or PIECE_CHARACTERS
    start = 0
    while len(text) - start > 2 * size:
        cut = cuts.search(text, start + size, start + 2 * size)
        end = cut.end() if cut else start + 2 * size
        yield text[start:end]
        start = end
    if text[start:]:
        yield text[start:]


def short_runs(text: str) -> Iterator[str]:
    """Cut every run of letters or of white space that is longer than `LONGEST_RUN`."""
    start = 0
    for run in LONG_RUNS.finditer(text):
        if run.start() > start:
            yield text[start : run.start()]
        for begin in range(run.start(), run.end(), LONGEST_RUN):
            yield text[begin : min(begin + LONGEST_RUN, run.end())]
        start = run.end()
    if text[start:]:
        yield text[start:]
