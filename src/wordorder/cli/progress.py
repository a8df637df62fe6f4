"""The progress bar of a measurement, on stderr."""

from __future__ import annotations

from rich.console import Console
from rich.progress import Progress


def transient_progress() -> Progress:
    """Return a bar that disappears at its end; where stderr is no terminal it prints nothing."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)
