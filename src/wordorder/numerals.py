"""Counts and signed numbers as text: "1 document", "2 documents", "+0.012", "0.000".

Not here: rates and durations, see training/plan.py.
"""

from __future__ import annotations


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return a count with its noun: "1 document", "1,234 documents", "no documents".

    Args:
        plural: the plural of the noun; None adds an s.
    """
    return f"{f'{count:,}' if count else 'no'} {noun if count == 1 else plural or noun + 's'}"


def signed(value: float, digits: int = 3) -> str:
    """Return a number with its sign: "+0.012"; "0.000" if it rounds to zero."""
    return f"{value:+.{digits}f}" if float(f"{value:.{digits}f}") else f"{0.0:.{digits}f}"
