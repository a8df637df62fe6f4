"""What commands print with: the console, and formats."""

from __future__ import annotations

from rich.console import Console


def screen(*, stderr: bool = False) -> Console:
    """Return a console that prints names as they are: `a:x:b` has no emoji in it."""
    return Console(stderr=stderr, highlight=False, emoji=False)


def percent(share: float) -> str:
    """Return a share as a whole number of percent: 0.256 gives "26"."""
    return f"{100 * share:.0f}"
