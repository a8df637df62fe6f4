"""Counts agree with their nouns, and a number that rounds to zero has no sign."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from wordorder.numerals import counted, first_of, perplexity, perplexity_in_words, signed

SOURCES = Path(__file__).parents[1] / "src/wordorder"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "no documents"), (1, "1 document"), (2, "2 documents"), (12345, "12,345 documents")],
)
def test_counts(count: int, text: str) -> None:
    assert counted(count, "document") == text
    own = text.replace("documents", "entries").replace("document", "entry")
    assert counted(count, "entry", "entries") == own


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.000"), (-0.0, "0.000"), (-0.0004, "0.000"), (0.0004, "0.000"), (-0.0006, "-0.001")],
)
def test_signs(value: float, text: str) -> None:
    assert signed(value) == text
    assert signed(0.06, 1) == "+0.1" and signed(-1234.5, 0) == "-1234"


def test_signed_numbers_are_written_in_one_place() -> None:
    """These parts had "+0.000" and "-0.000" of their own."""
    for folder in ("evaluation", "extension", "words", "training"):
        for path in (SOURCES / folder).rglob("*.py"):
            assert not re.search(r"\{[^{}]+:\+z?\.", path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize(
    ("most", "text"), [(1, "a and 2 more"), (2, "a, b and 1 more"), (3, "a, b, c"), (9, "a, b, c")]
)
def test_first_names(most: int, text: str) -> None:
    assert first_of(["a", "b", "c"], most) == text


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        (math.log(12.34), "perplexity 12.3"),
        (math.log(4.5e9), "perplexity 4.5e+09"),
        (709.0, "perplexity 8.2e+307"),
        (710.0, "perplexity above 1e+308"),
        (282498.0, "perplexity above 1e+308"),
    ],
)
def test_a_perplexity_of_any_loss(loss: float, text: str) -> None:
    assert perplexity_in_words(loss) == text
    assert (perplexity(loss) is None) == (loss >= 710)
