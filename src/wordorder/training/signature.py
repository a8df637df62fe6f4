"""Signs model cards, so that a README.md that a user wrote or edited is not overwritten."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

SAYS = "<!-- written by wordorder, which replaces it unless edited:"
LINE = re.compile(SAYS + r" ([0-9a-f]{16}) -->\n")
# Words in every model card from versions that did not sign them.
BEFORE = "tokens by wordorder "


def signed(text: str) -> str:
    """Return a text with a last line that holds its digest."""
    return f"{text}{SAYS} {_digest(text)} -->\n"


def is_ours(path: Path) -> bool:
    """Return whether wordorder wrote a file and nobody edited it since."""
    try:
        text = path.read_bytes().decode()  # a sample may hold any end of line
    except (OSError, ValueError):
        return False
    line = LINE.search(text)
    if line is None:
        return BEFORE in text
    return line.end() == len(text) and line[1] == _digest(text[: line.start()])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]
