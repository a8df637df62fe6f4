"""Parses JSON, and refuses an object with the same key twice, of which `json` keeps the last value.

The check costs less than a microsecond for each object.
"""

from __future__ import annotations

import json
import re
from typing import Any

from wordorder.errors import BadInput
from wordorder.text.user_text import shown

# A string, with the colon that makes it a key, or the begin or the end of an object or array.
TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|[{}\[\]]', re.DOTALL)


class _RepeatedKey(Exception):
    """Raised by the parser, which does not know the line."""


def parse_json(text: str, source: str, line: int = 1) -> Any:
    """Return the value of a JSON text.

    Args:
        source: the file, for messages.
        line: the line of the file on which the text begins.

    Raises:
        BadInput: an object has the same key twice.
        JSONDecodeError: the text is not JSON.
        RecursionError, ValueError: Python cannot read it.
    """
    try:
        return DECODER.decode(text)
    except _RepeatedKey:
        key, offset = _repeated_key(text)
    number = line + text.count("\n", 0, offset)
    raise BadInput(
        f"{source}, line {number}: the key {shown(key)} occurs twice in one object, so one of "
        "its values would be lost: rename or remove one",
        code="text.json-repeated-key",
    )


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise _RepeatedKey
    return values


DECODER = json.JSONDecoder(object_pairs_hook=_without_repetition)


def _repeated_key(text: str) -> tuple[str, int]:
    """Return the first key that repeats an earlier one of its object, and its offset."""
    opened: list[set[str]] = []
    for token in TOKEN.finditer(text):
        if token[2]:
            key = json.loads(token[1])
            if key in opened[-1]:
                return key, token.start()
            opened[-1].add(key)
        elif token[0] in "{[":
            opened.append(set())
        elif token[0] in "}]":
            opened.pop()
    raise AssertionError("the parser has found a repeated key")
