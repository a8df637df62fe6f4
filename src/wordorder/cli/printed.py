"""Pieces of what commands print."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text


def titled(title: str, below: str, *parts: RenderableType) -> Group:
    """Return a part of a screen: its title, what is to be said of it, and what it shows."""
    return Group(Text(title, style="bold"), Text(below, style="dim"), *parts)


def percent(share: float) -> str:
    """Return a share as a whole number of percent."""
    return f"{100 * share:.0f}"
