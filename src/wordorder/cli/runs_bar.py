"""Shows the progress of several jobs: bars in a terminal, otherwise a line per finished job."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from wordorder import stopping
from wordorder.cli.printed import screen
from wordorder.experiments.jobs import Job, Outcome
from wordorder.experiments.runner import Progress
from wordorder.numerals import counted
from wordorder.training.plan import readable_seconds


class RunsBar(Progress):
    """Progress on stderr: a bar for all jobs, and one for each running job."""

    def __init__(self) -> None:
        self.console = screen(stderr=True)
        self.bars: Bars | None = None
        self.tasks: dict[int, TaskID] = {}

    def say(self, line: str) -> None:
        self.console.print(line, style="dim", markup=False, soft_wrap=True)

    def plan(self, jobs: Sequence[Job], heading: str, seconds: float) -> None:
        self.close()  # the bars of an earlier plan
        self.say(heading)
        self.jobs, self.seconds, self.began = jobs, seconds, time.perf_counter()
        self.shares, self.over = dict.fromkeys(range(len(jobs)), 0.0), 0
        if self.console.is_terminal:
            columns = BarColumn(bar_width=20), TextColumn("{task.description}", markup=False)
            self.bars = Bars(*columns, console=self.console)
            self.whole = self.bars.add_task("", total=1)
            self.bars.start()

    def started(self, number: int, job: Job) -> None:
        if self.bars is not None:
            self.tasks[number] = self.bars.add_task(job.name, total=1.0)

    def told(self, number: int, share: float, line: str) -> None:
        self.shares[number] = share
        if self.bars is not None:
            text = f"{self.jobs[number].name}  {line}"
            self.bars.update(self.tasks[number], completed=share, description=text)
        self._update()

    def ended(self, number: int, outcome: Outcome) -> None:
        """Print the result of a job, or why it failed."""
        if self.bars is not None:
            self.bars.remove_task(self.tasks.pop(number))
        self.shares[number] = 1.0
        self.over += 1
        self._update()
        job = self.jobs[number]
        result = outcome.error or job.in_words(outcome.result)
        self.say(f"{self.over}/{len(self.jobs)}  {job.name}  {result}{self._left()}")
        if outcome.error is not None and "Traceback" in outcome.details:
            self.say(outcome.details)

    @contextmanager
    def closing(self, folder: Path, note: str = "") -> Iterator[None]:
        """Remove the bars afterwards; if stopped, say which runs are saved.

        Args:
            note: what else to say then.
        """
        try:
            yield
        except KeyboardInterrupt as error:
            self.close()
            saved = f"finished runs are saved in {folder}; the same command continues"
            line = f"stopped: {saved if folder.exists() else 'no run was started'}"
            self.say(line)
            stopping.report(error, line)
            if note:
                self.say(note)
            raise
        finally:
            self.close()

    def close(self) -> None:
        """Remove the bars."""
        if self.bars is not None:
            self.bars.stop()
            self.bars = None
        self.tasks.clear()

    def _update(self) -> None:
        if self.bars is not None:
            text = f"{self.over} of {counted(len(self.jobs), 'run')}{self._left()}"
            self.bars.update(self.whole, completed=self._done(), description=text)

    def _done(self) -> float:
        done = sum(job.seconds * self.shares[number] for number, job in enumerate(self.jobs))
        return done / sum(job.seconds for job in self.jobs)

    def _left(self) -> str:
        """Return the remaining time, from finished work; at first from the plan's estimate."""
        share, took = self._done(), time.perf_counter() - self.began
        seconds = took / share - took if share > 0.02 else self.seconds - took
        left = f"  {readable_seconds(max(0.0, seconds))} left"
        return left if self.over < len(self.jobs) else ""
