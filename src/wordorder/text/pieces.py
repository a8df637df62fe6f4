"""Where a text may be cut, so that tokenizing any text takes bounded memory and time.

A byte-level BPE first splits text by a pattern and then merges within each part. Between two parts
a text can be cut without changing a token; only a text that has no such place for a whole piece is
cut anyway.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Qwen3.5's pattern, which llama.cpp runs as "qwen35". A word goes on through combining marks, so
# that a vowel sign does not end it as in GPT-2's. llama.cpp's "gpt-4o" is declared with marks too,
# but what it runs has none.
# Source: llama.cpp, src/llama-vocab.cpp, LLAMA_VOCAB_PRE_TYPE_QWEN35 and _GPT4O.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# A cut after a match lies between two parts. Here line ends belong to the punctuation before them,
# and a blank to the word behind it.
BLANK = r"[ \t\u3000]"
BETWEEN_PARTS = re.compile(
    rf"\n(?={BLANK}*[^\s])|[^\W_](?=\s)|[^\s](?={BLANK})|[^\W_](?=[。，！？、；：])"
)
# The same for GPT-2's pattern, of which no part goes from a character into white space.
BETWEEN_GPT2_PARTS = re.compile(r"[^\s](?=[ \t\r\n\u3000])|[^\W_](?=[。，！？、；：])")
# For a tokenizer whose pattern is not known: few tokens depend on what stands before a line.
LINE_STARTS = re.compile(r"\n(?=[^\s])")

PIECE_CHARACTERS = 1 << 16

# What a merge can be learnt from. Longer ones, as DNA and Chinese without punctuation have, repeat
# too seldom to be learnt, and cost the square of their length.
LONGEST_RUN = 256
LONG_RUNS = re.compile(rf"\S{{{LONGEST_RUN + 1},}}|\s{{{LONGEST_RUN + 1},}}")


def pieces(text: str, cuts: re.Pattern[str], size: int | None = None) -> Iterator[str]:
    """Cut a text into pieces of `size` to twice as many characters, and a last one.

    Args:
        cuts: matches end where the text may be cut; where there is none it is cut at twice `size`.
        size: in characters; None: `PIECE_CHARACTERS`.
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
