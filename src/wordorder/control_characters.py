"""Escapes control characters such as ESC or BEL in text, which a terminal would interpret."""

from __future__ import annotations

import re

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but the tab and the newline


def escaped(text: str) -> str:
    """Return a text with its control characters as escapes; tabs and newlines stay."""
    return CONTROL.sub(lambda match: escape_of(match[0]), text)


def escape_of(character: str) -> str:
    """Return the escape of a character as in Python's strings: ESC is \\\\x1b."""
    return character.encode("unicode_escape").decode()
