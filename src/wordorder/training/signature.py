"""The last line of a model card: a digest by which an edited or a stranger's README.md is told."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

SAYS = "<!-- written by wordorder, which replaces it unless edited:"
LINE = re.compile(SAYS + r" ([0-9a-f]{16}) -->\n")
# Every card had these words before cards were signed.
BEFORE = "tokens by wordorder "


def signed(text: str) -> str:
    """Return a text with the line that holds its digest."""
    return f"{text}{SAYS} {_digest(text)} -->\n"


def is_ours(path: Path) -> bool:
    """Whether a file is as wordorder wrote it, so that it may be replaced or removed."""
    try:
        text = path.read_bytes().decode()  # a sample may hold any end of line
    except (OSError, ValueError):
        return False
    found = LINE.search(text)
    if found is None:
        return BEFORE in text
    return found.end() == len(text) and found[1] == _digest(text[: found.start()])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]
