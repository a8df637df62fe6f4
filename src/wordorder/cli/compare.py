"""`wordorder compare`: which positional embedding, with evidence.

The verdict and the table go to stdout; how far it is goes to stderr, as bars in a terminal
and as a line for every run that ends elsewhere.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.progress import TaskID

from wordorder.cli.options.compare import read_options
from wordorder.cli.runs_bar import RunsBar
from wordorder.experiments.compare import (
    CompareConfig,
    compare,
)
from wordorder.experiments.comparison import Comparison
from wordorder.experiments.grid import Cell, Display
from wordorder.experiments.report import for_terminal, write_report
from wordorder.experiments.side_by_side import Job, Outcome
from wordorder.numerals import counted
from wordorder.text.user_text import user_path
from wordorder.training.plan import readable_seconds


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    options = read_options(arguments)
    train = options.train.plain()
    config = CompareConfig(
        train=replace(train, out=None, overwrite=False),
        positions=options.positions,
        baseline=options.baseline,
        seeds=options.seeds,
        lengths=options.lengths,
        pack=options.pack,
        tune=options.tune_lr,
        processes=options.processes,
        out=train.out or "runs/compare",
        overwrite=train.overwrite,
    )
    command = shlex.join(["wordorder", "compare", *arguments])
    show, folder = Terminal(), user_path(config.out)
    try:
        folder = compare(config, show=show, command=command)
    except KeyboardInterrupt:
        show.close()
        show.say(f"stopped and saved: the same command goes on with {folder}")
        raise
    finally:
        show.close()
    summary = write_report(folder)
    if options.json:
        print(json.dumps({"folder": str(folder), **summary.to_dict()}))
    else:
        Console(highlight=False).print(for_terminal(summary))
        print(f"\n{folder / 'report.html'}")
    return 0


class Terminal(RunsBar, Display):
    """Bars for the whole and for what runs now in a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks: dict[int, TaskID] = {}
        self.noted = False

    def plan(self, record: Comparison, cells: list[Cell], seconds: float) -> None:
        self.close()
        self.cells = cells
        machine, processes = record.machine, record.processes
        at_once = "one at a time" if processes == 1 else f"{processes} at once"
        self.say(
            f"{counted(len(cells), 'run')} of {counted(cells[0].steps, 'step')}, {at_once} with "
            f"{counted(machine['threads'], 'thread')} each, {machine['dtype']}: about "
            f"{readable_seconds(seconds)}"
        )
        for note in [] if self.noted else record.notes:
            self.say(note)
        self.noted = True  # tuning has plans of its own, and the notes are the same
        self.begin(len(cells), seconds)

    def started(self, number: int, job: Job) -> None:
        if self.progress is not None:
            self.tasks[number] = self.progress.add_task(self._name(number), total=1.0)

    def told(self, number: int, share: float, line: str) -> None:
        self.shares[number] = share
        if self.progress is not None:
            text = f"{self._name(number)}  {line}"
            self.progress.update(self.tasks[number], completed=share, description=text)
        self.update()

    def ended(self, number: int, outcome: Outcome) -> None:
        if self.progress is not None:
            self.progress.remove_task(self.tasks.pop(number))
        loss = "" if outcome.error else self._loss(outcome.result)
        self.finish(number, self._name(number), loss, outcome)

    def _loss(self, result: dict[str, Any]) -> str:
        """Return the loss of a run that ended, and of which text it is."""
        return f"{result.get('text', 'validation')} loss {result['validation_loss']:.4f}"

    def close(self) -> None:
        """Take the bars away."""
        super().close()
        self.tasks.clear()

    def _name(self, number: int) -> str:
        cell = self.cells[number]
        rate = f" {cell.rate:g}x" if cell.rate != 1 else ""
        return f"{cell.position} seed {cell.seed}{rate}"
