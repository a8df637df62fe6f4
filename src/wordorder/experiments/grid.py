"""The runs of a comparison, and their lines in results.jsonl.

When a run ends, its line is written at once, in the order of the grid, so that results are
available if the comparison is interrupted. The lines of embeddings that were compared before and
are left out now come last.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wordorder.atomic import write_text
from wordorder.errors import BadInput
from wordorder.evaluation.order import PROBES
from wordorder.evaluation.windows import MOST_TARGETS
from wordorder.experiments.calibration import as_job
from wordorder.experiments.cluster import ClusterLauncher
from wordorder.experiments.comparison import Comparison
from wordorder.experiments.jobs import Job, Outcome
from wordorder.experiments.paired_run import MEASURES, is_trained, train_and_measure
from wordorder.experiments.runner import Progress, at_once_in_words, run_what_is_left
from wordorder.names import file_name
from wordorder.numerals import counted
from wordorder.training.plan import readable_seconds

SECONDS_TO_START = 5.0  # of a process: imports and reading the text


@dataclass(frozen=True)
class Cell:
    """One run: an embedding with a seed, in its folder, with its learning rates times a factor."""

    position: str
    seed: int
    folder: Path
    rate: float = 1.0
    steps: int = 0


def run(
    folder: Path, record: Comparison, show: Progress, cluster: ClusterLauncher | None = None
) -> None:
    """Run the remaining cells of the grid, and write the line of every run."""
    cells, path = cells_of(folder, record), folder / "results.jsonl"
    others = _left_out(folder, record, cells)

    def write(outcomes: Sequence[Outcome | None]) -> None:
        ended = [(cell, each) for cell, each in zip(cells, outcomes, strict=True) if each]
        lines = [*(line_of(folder, cell, outcome) for cell, outcome in ended), *others]
        write_text(path, "".join(f"{json.dumps(line)}\n" for line in lines))

    run_cells(record, cells, record.measure, show, write, cluster)


def _left_out(folder: Path, record: Comparison, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Return the lines of embeddings that this report leaves out: its correction counts them.

    Each run's folder has its results too, so a damaged or missing line is written anew.
    """
    lines = {}
    reported = {cell.folder / MEASURES for cell in cells}
    for path in sorted({*(folder / "runs").glob(f"*/{MEASURES}")} - reported):
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            stored = json.loads(path.read_text(encoding="utf-8"))
            job, result = stored["job"], stored["result"]
            cell = Cell(job["model"]["position"], int(job["training"]["seed"]), path.parent)
            if is_sound(result):
                lines[cell.position, cell.seed] = line_of(folder, cell, Outcome(result))
    for line in _readable(folder / "results.jsonl"):  # of runs of an older version
        lines.setdefault((line["position"], line["seed"]), line)
    return [line for (position, _), line in lines.items() if position not in record.positions]


def _readable(path: Path) -> Iterator[dict[str, Any]]:
    for text in path.read_bytes().splitlines() if path.exists() else []:
        with suppress(ValueError):
            line = json.loads(text)
            if isinstance(line, dict) and {"position", "seed"} <= line.keys():
                yield line


def is_sound(result: Any) -> bool:
    """Return whether a result has the parts that every report reads."""
    numbers = (result["validation_loss"], *(x for point in result.get("curve", ()) for x in point))
    return all(isinstance(number, int | float) for number in numbers)


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


def line_of(folder: Path, cell: Cell, outcome: Outcome) -> dict[str, Any]:
    """Return the line of one run in results.jsonl: its results, or why it failed."""
    return {
        "position": cell.position,
        "seed": cell.seed,
        "run": str(cell.folder.relative_to(folder)),
        **(outcome.result if outcome.error is None else {"failed": outcome.error}),
    }


def seconds_of(
    record: Comparison, cells: list[Cell], at_once: int, measure: dict[str, Any] | None
) -> float:
    """Estimate the time of some runs from the time of a step with each embedding.

    Trained runs are only measured; runs that choose a learning rate read a little text.
    """
    # A forward pass costs a third of a training step.
    reading = _tokens_read(record) / 3 * record.steps / record.tokens
    if measure != record.measure:
        reading = 0.0
    work = sum(
        (reading + (0 if _is_trained(cell) else cell.steps))
        * record.costs[cell.position]["step_seconds"]
        for cell in cells
    )
    start = SECONDS_TO_START * len(cells)
    return (slower_at_once(record) * work + start) / min(max(1, len(cells)), at_once)


def slower_at_once(record: Comparison) -> float:
    """Return how many times longer a step takes beside other runs than when costs were timed."""
    settled, of_baseline = record.settled, record.costs[record.baseline]
    # Stored, because another baseline may be chosen later. Older records have no such value.
    return float(
        settled.get("slower_at_once") or settled["step_seconds"] / of_baseline["step_seconds"]
    )


def _is_trained(cell: Cell) -> bool:
    """Return whether a run has done its last step; False if its record is damaged."""
    with suppress(BadInput, OSError):
        return is_trained(cell.folder)
    return False


def _tokens_read(record: Comparison) -> float:
    """Estimate the number of tokens that the measurements of one run read."""
    held_out, trained = record.data["validation_tokens"], record.trained_length
    contexts = MOST_TARGETS / (trained / 2) * sum(record.measure["contexts"])
    whole = held_out * (1 + len(record.measure["lengths"]))
    return contexts + whole + MOST_TARGETS * 4 * (1 + len(PROBES))


def run_cells(
    record: Comparison,
    cells: Sequence[Cell],
    measure: dict[str, Any] | None,
    show: Progress,
    changed: Callable[[list[Outcome | None]], None] = lambda outcomes: None,
    cluster: ClusterLauncher | None = None,
) -> list[Outcome]:
    """Run the cells whose results are not stored, side by side; return how all ended.

    Args:
        measure: what is measured of each run, as `train_and_measure` takes it.
        changed: called with the outcomes so far, as `run_what_is_left` does.
        cluster: where runs are computed; None: on this machine.
    """
    threads, processes = record.machine["threads"], record.processes
    if cluster is not None:
        processes = min(cluster.at_once, len(cells))
    jobs = [_job(record, cell, measure) for cell in cells]
    of = {job.name: cell for job, cell in zip(jobs, cells, strict=True)}

    def plan(left: list[Job]) -> tuple[str, float]:
        cells_left = [of[job.name] for job in left]
        seconds = seconds_of(record, cells_left, processes, measure)
        heading = (
            f"{_runs_in_words(cells_left)}, {at_once_in_words(processes)} with "
            f"{counted(threads, 'thread')} each, "
            f"{record.machine['dtype']}: about {readable_seconds(seconds)}"
        )
        notes = record.notes if measure == record.measure else []
        return "\n".join([heading, *notes]), seconds

    return run_what_is_left(
        jobs, at_once=processes, plan=plan, show=show, changed=changed, launcher=cluster
    )


def _runs_in_words(cells: Sequence[Cell]) -> str:
    """Return how many runs are trained and how many are only measured."""
    trained = sum(map(_is_trained, cells))
    parts = []
    if trained < len(cells):
        steps = counted(cells[0].steps, "step")
        parts.append(f"{counted(len(cells) - trained, 'run')} of {steps}")
    if trained:
        parts.append(f"{counted(trained, 'trained run')} to measure")
    return " and ".join(parts)


def _job(record: Comparison, cell: Cell, measure: dict[str, Any] | None) -> Job:
    shared = record.config
    config = replace(
        shared,
        model=replace(shared.model, position=cell.position),
        seed=cell.seed,
        out=None,
        time=None,
        tokens=None,
        steps=cell.steps,
        threads=record.machine["threads"],
        learning_rate=cell.rate * shared.learning_rate,
        matrix_learning_rate=cell.rate * shared.matrix_learning_rate,
    )
    rate = f" {cell.rate:g}x" if cell.rate != 1 else ""
    return Job(
        f"{cell.position} seed {cell.seed}{rate}",
        train_and_measure,
        {
            **as_job(config),
            "machine": record.machine,
            "measure": measure,
            "text": record.data["content_hash"],
            "code": record.code.get(cell.position),  # None: not of a user
        },
        {"folder": str(cell.folder), "command": record.command},
        cell.folder / MEASURES,
        record.machine["threads"],
        in_words=_loss,
        sound=is_sound,
        older=lambda stored: stored["measures"] if stored["asked"] == measure else None,
    )


def _loss(result: dict[str, Any]) -> str:
    """Return the loss of a run that ended, and of which text it is."""
    return f"{result.get('text', 'validation')} loss {result['validation_loss']:.4f}"
