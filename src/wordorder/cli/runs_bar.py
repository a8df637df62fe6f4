"""How far several runs are: a bar for all of them in a terminal, plain lines elsewhere.

`compare` and `tasks` say the rest: what is about to start, and what a run that ended scored.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from wordorder.experiments.side_by_side import Outcome
from wordorder.numerals import counted
from wordorder.training.plan import readable_seconds


class RunsBar:
    """A bar for several runs, on stderr."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.progress: Progress | None = None

    def say(self, line: str) -> None:
        """Print one line."""
        self.console.print(line, style="dim", markup=False, soft_wrap=True)

    def begin(self, count: int, seconds: float, weights: Sequence[float] = ()) -> None:
        """Runs start now.

        Args:
            count: how many.
            seconds: what all of them should take.
            weights: how much of that each takes, in any unit; none: all as much.
        """
        self.count, self.seconds, self.began = count, seconds, time.perf_counter()
        self.weights = list(weights) or [1.0] * count
        self.shares, self.over = dict.fromkeys(range(count), 0.0), 0
        if self.console.is_terminal:
            columns = BarColumn(bar_width=20), TextColumn("{task.description}")
            self.progress = Progress(*columns, console=self.console)
            self.whole = self.progress.add_task("", total=1)
            self.progress.start()

    def update(self, line: str = "") -> None:
        """Draw the bar anew, with a line beside it."""
        if self.progress is not None:
            text = f"{self.over} of {counted(self.count, 'run')}{self._left()}  {line}"
            self.progress.update(self.whole, completed=self._done(), description=text)

    def finish(self, number: int, name: str, scored: str, outcome: Outcome) -> None:
        """Say how run `number` ended: what it scored, or why it failed."""
        self.shares[number] = 1.0
        self.over += 1
        self.update()
        self.say(f"{self.over}/{self.count}  {name}  {outcome.error or scored}{self._left()}")
        if outcome.error is not None and "Traceback" in outcome.details:
            self.say(outcome.details)

    def close(self) -> None:
        """Take the bar away."""
        if self.progress is not None:
            self.progress.stop()
            self.progress = None

    def _done(self) -> float:
        done = sum(weight * self.shares[n] for n, weight in enumerate(self.weights))
        return done / sum(self.weights)

    def _left(self) -> str:
        """Return the time left, from what is done; the plan's guess at first."""
        share, took = self._done(), time.perf_counter() - self.began
        seconds = took / share - took if share > 0.02 else self.seconds - took
        return f"  {readable_seconds(max(0.0, seconds))} left" if self.over < self.count else ""
