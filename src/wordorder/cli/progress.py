"""The progress bar of a measurement, on stderr."""

from __future__ import annotations

from rich.progress import Progress

from wordorder.cli.printed import screen


def transient_progress() -> Progress:
    """Return a bar that disappears at its end; where stderr is no terminal it prints nothing."""
    console = screen(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)
