"""What a mutant is, and the tests that more than one of them names."""

from __future__ import annotations

from dataclasses import dataclass

READING = "tests/model/test_reading.py"
KIT = "tests/positions/test_conformance.py"


@dataclass(frozen=True)
class Mutant:
    """One mistake: edits to a file, and the tests that may catch it."""

    name: str
    file: str
    edits: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]


def slip(embedding: str, mistake: str, *edits: tuple[str, str]) -> Mutant:
    """Return a mistake in an embedding's file that its own tests, and the kit in them, catch."""
    module = embedding.replace("-", "_")
    name, tests = f"{embedding}: {mistake}", f"tests/positions/test_{module}.py"
    return Mutant(name, f"positions/{module}.py", edits, (tests,))
