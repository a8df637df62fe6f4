"""One embedding for each way in which positions enter a model.

What a model does around an embedding, such as masks, caches and kernels, has one code path for each
of these ways: the quick tests follow each once, and the slow ones have the whole catalogue. What
an embedding itself must hold, the conformance kit checks for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

MECHANISMS = {
    "none": "no embedding",
    "learned": "a table that is added to the input, and ends",
    "rotary": "a rotation that never changes",
    "xpos": "a rotation that depends on what else is there",
    "pope": "queries and keys wider than values",
    "alibi": "a bias with slopes",
    "t5": "a learned bias of the distance",
    "fire": "a function of two positions",
    "shaw": "a function of a query and a position",
    "forgetting": "a function of states",
    "selective": "states in a rotation",
    "dape": "whole rows of scores",
    "path": "whole rows with states",
    "learned+alibi": "a sum",
    "rotary/none": "a pattern",
}


def each(specs: Iterable[str], quick: Iterable[str] = MECHANISMS) -> list[Any]:
    """Return parameters of a test: all but the quick ones are marked slow."""
    quick = {*quick}
    return [s if s in quick else pytest.param(s, marks=pytest.mark.slow) for s in specs]


def each_row(rows: Mapping[str, Iterable[str]], is_slow: Callable[[str, str], bool]) -> list[Any]:
    """Return the class and the name of each row as parameters, some of them marked slow."""
    return [
        pytest.param(kind, name, marks=pytest.mark.slow if is_slow(kind, name) else ())
        for kind, names in rows.items()
        for name in names
    ]
