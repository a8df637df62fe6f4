"""Pieces of what commands print."""

from __future__ import annotations


def percent(share: float) -> str:
    """Return a share as a whole number of percent."""
    return f"{100 * share:.0f}"
