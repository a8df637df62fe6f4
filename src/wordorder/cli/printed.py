"""Formats for the output of commands."""

from __future__ import annotations


def percent(share: float) -> str:
    """Return a share as a whole number of percent: 0.256 gives "26"."""
    return f"{100 * share:.0f}"
