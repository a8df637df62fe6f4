"""The progress bar of a measurement, on stderr."""

from __future__ import annotations

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from wordorder.cli.printed import screen


def transient_progress() -> Progress:
    """Return a bar that disappears at its end; where stderr is no terminal it prints nothing."""
    console = screen(stderr=True)
    columns = TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn()
    is_hidden = not console.is_terminal
    return Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=is_hidden
    )
