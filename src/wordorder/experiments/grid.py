"""The runs of a comparison: which there are, which are left, and what each scored.

Every run that ends puts its line into results.jsonl at once, in the order of the grid, so
that what has been found is there whenever the comparison is stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wordorder.atomic import write_text
from wordorder.evaluation.order import PROBES
from wordorder.evaluation.windows import MOST_TARGETS
from wordorder.experiments.calibration import as_job
from wordorder.experiments.comparison import Comparison
from wordorder.experiments.paired_run import recorded, train_and_measure
from wordorder.experiments.side_by_side import Outcome, Progress, run_jobs
from wordorder.names import file_name

SECONDS_TO_START = 5.0  # a process, with its imports and its text


@dataclass(frozen=True)
class Cell:
    """One run: an embedding with a seed, in its folder, with its learning rates times a factor."""

    position: str
    seed: int
    folder: Path
    rate: float = 1.0
    steps: int = 0


class Display(Progress):
    """What a comparison tells while it works, beside the progress of its runs."""

    def say(self, line: str) -> None:
        """One line about something that happened."""

    def plan(self, record: Comparison, cells: list[Cell], seconds: float) -> None:
        """Runs are about to start, and how long they should take."""


def run(folder: Path, record: Comparison, show: Display) -> None:
    """Do what is left of the grid, and write the line of every run."""
    cells = cells_of(folder, record)
    lines: dict[Cell, dict[str, Any]] = {}
    for cell in cells:
        measures = recorded(cell.folder, record.measure)
        if measures is not None:
            lines[cell] = line_of(folder, cell, measures)
    left = [cell for cell in cells if cell not in lines]

    def write() -> None:
        text = "".join(f"{json.dumps(lines[cell])}\n" for cell in cells if cell in lines)
        write_text(folder / "results.jsonl", text)

    def ended(cell: Cell, outcome: Outcome) -> None:
        failed = {"failed": outcome.error}
        lines[cell] = line_of(folder, cell, outcome.result if outcome.error is None else failed)
        write()

    write()
    run_cells(record, left, record.measure, show, ended)


def cells_of(folder: Path, record: Comparison) -> list[Cell]:
    """Return every run of the grid: all embeddings with the first seed, then with the next."""
    tuned = record.tuned or {}
    first = record.training["seed"]
    return [
        Cell(
            position,
            seed,
            folder / "runs" / f"{file_name(position)}-seed{seed}",
            tuned.get(position, 1.0),
            record.steps,
        )
        for seed in range(first, first + record.seeds)
        for position in record.positions
    ]


def line_of(folder: Path, cell: Cell, found: dict[str, Any]) -> dict[str, Any]:
    """Return the line of results.jsonl of one run: what was found of it, or why it failed."""
    return {
        "position": cell.position,
        "seed": cell.seed,
        "run": str(cell.folder.relative_to(folder)),
        **found,
    }


def seconds_of(record: Comparison, cells: list[Cell]) -> float:
    """Return how long some runs should take, from what a step with each embedding took."""
    costs, settled = record.costs, record.settled
    slower = settled["step_seconds"] / costs[record.baseline]["step_seconds"]
    # Reading is a third of a training step.
    reading = _tokens_read(record) / 3 * record.steps / record.tokens
    work = sum((cell.steps + reading) * costs[cell.position]["step_seconds"] for cell in cells)
    start = SECONDS_TO_START * len(cells)
    return (slower * work + start) / min(max(1, len(cells)), record.processes)


def _tokens_read(record: Comparison) -> float:
    """Return about how many tokens the measures of one run read."""
    held_out, trained = record.data["validation_tokens"], record.trained_length
    contexts = MOST_TARGETS / (trained / 2) * sum(record.measure["contexts"])
    whole = held_out * (1 + len(record.measure["lengths"]))
    return contexts + whole + MOST_TARGETS * 4 * (1 + len(PROBES))


def run_cells(
    record: Comparison,
    cells: list[Cell],
    measure: dict[str, Any] | None,
    show: Display,
    ended: Callable[[Cell, Outcome], None],
) -> None:
    """Run cells side by side and tell of each as it ends.

    Args:
        measure: what is asked of each run, as `train_and_measure` takes it.
        ended: called with each cell and its outcome.
    """
    if not cells:
        return
    show.plan(record, cells, seconds_of(record, cells))
    run_jobs(
        train_and_measure,
        [_job(record, cell, measure) for cell in cells],
        processes=record.processes,
        threads=record.machine["threads"],
        show=show,
        record=lambda number, outcome: ended(cells[number], outcome),
    )


def _job(record: Comparison, cell: Cell, measure: dict[str, Any] | None) -> dict[str, Any]:
    shared = record.config
    config = replace(
        shared,
        model=replace(shared.model, position=cell.position),
        seed=cell.seed,
        out=str(cell.folder),
        time=None,
        tokens=None,
        steps=cell.steps,
        threads=record.machine["threads"],
        learning_rate=cell.rate * shared.learning_rate,
        matrix_learning_rate=cell.rate * shared.matrix_learning_rate,
    )
    return {
        **as_job(config),
        "machine": record.machine,
        "measure": measure,
        "command": record.command,
    }
