"""How a run goes: its losses so far, thinned for a chart, and how much of it is done."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from wordorder.studio.fields import command
from wordorder.studio.workshop import StartedJob, State

MOST_POINTS = 240
SECONDS_BETWEEN_LOOKS = 0.5


class Losses(BaseModel):
    """The losses of one run by step, in nats; the training loss is averaged between points."""

    training: list[tuple[int, float]] = []
    validation: list[tuple[int, float]] = []


class JobProgress(BaseModel):
    """A job that was started from the page.

    Args:
        note: the last line that the command printed.
        share: of the work that is done, 0 to 1.
    """

    name: str
    state: State
    note: str
    command: str
    log: list[str]
    share: float = 0.0

    @staticmethod
    def fields_of(job: StartedJob) -> dict[str, Any]:
        """Return what all jobs have."""
        log = job.log_lines()
        note = next((line.strip() for line in reversed(log) if line.strip()), "")
        return {
            "name": job.name,
            "state": job.state,
            "note": note,
            "command": job.command,
            "log": log,
        }


Progress = TypeVar("Progress", bound=JobProgress)


async def changes(look: Callable[[], Progress]) -> AsyncIterator[Progress]:
    """Yield how a job goes, whenever that changes, until it has ended."""
    last = None
    while True:
        progress = await asyncio.to_thread(look)
        if progress != last:
            yield progress
        if progress.state != "running":
            return
        last = progress
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)


class RunProgress(JobProgress):
    """A run that was started from the page.

    Args:
        step, steps: done, and in all, which is an estimate for a timed run.
        guessing: the loss of a uniform guess, the log of the vocabulary's size.
        final: loss on the whole validation text, at the end.
        weights: the step of the newest checkpoint; null before the first.
        run: its name among the open runs; empty if it has no weights yet.
    """

    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    seconds_left: float | None = None
    tokens_per_second: float = 0.0
    position: str = ""
    guessing: float | None = None
    losses: Losses = Losses()
    final: float | None = None
    weights: int | None = None
    run: str = ""
    generates: str = ""


class MetricsReader:
    """Reads a growing `metrics.jsonl`, each time what was added to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset, self.file = 0, 0
        self.records: list[dict[str, Any]] = []

    def read(self) -> list[dict[str, Any]]:
        """Return all records so far; a resumed run may have cut some off."""
        try:
            with self.path.open("rb") as file:
                status = self.path.stat()
                if status.st_ino != self.file or status.st_size < self.offset:
                    self.offset, self.file, self.records = 0, status.st_ino, []
                file.seek(self.offset)
                added = file.read()
        except OSError:
            return self.records
        whole = added[: added.rfind(b"\n") + 1]
        self.offset += len(whole)
        for line in whole.splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and isinstance(record.get("step"), int):
                self.records.append(record)
        return self.records


def losses_of(records: Iterable[dict[str, Any]]) -> Losses:
    """Return the losses of a run's records, thinned."""
    steps = [(r["step"], r["loss"]) for r in records if "loss" in r]
    held_out = [
        (r["step"], r["validation_loss"])
        for r in records
        if "validation_loss" in r and "final" not in r
    ]
    return Losses(training=thinned(steps), validation=thinned(held_out))


def thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return at most `MOST_POINTS` points: means of neighbours, at the last one's step."""
    size = -(-len(points) // MOST_POINTS) or 1
    groups = (points[i : i + size] for i in range(0, len(points), size))
    return [
        (group[-1][0], round(math.fsum(y for _, y in group) / len(group), 4)) for group in groups
    ]


def progress_of(job: StartedJob, reader: MetricsReader, run: str) -> RunProgress:
    """Return how a training run goes.

    Args:
        run: its name among the open runs; empty if it is not open.
    """
    progress = RunProgress(
        **RunProgress.fields_of(job),
        weights=newest_checkpoint(job.folder),
        run=run,
        generates=command("generate", job.folder, "The"),
    )
    config = _config(job.folder)
    if config is None:
        return progress
    records = reader.read()
    steps = [r for r in records if "loss" in r]
    final = next((r for r in reversed(records) if "final" in r), None)
    progress.position = config["model"]["position"]
    progress.guessing = math.log(config["model"]["vocabulary_size"])
    progress.losses = losses_of(records)
    progress.steps = config["steps"]
    for record in records:
        progress.steps = record.get("decision", {}).get("steps", progress.steps)
    if final is not None:
        progress.final = final["validation_loss"]
    if steps:
        progress.step, progress.seconds = steps[-1]["step"], steps[-1]["seconds"]
        rates = sorted(r["tokens_per_second"] for r in steps[-50:])
        progress.tokens_per_second = rates[len(rates) // 2]
        progress.share = 1.0 if final else min(1.0, progress.step / max(1, progress.steps))
        budget = config.get("plan", {}).get("budget_seconds")
        if budget and not final:  # the clock ends a timed run, whatever the estimate of steps
            progress.share = min(1.0, progress.seconds / budget)
        if progress.state == "running" and progress.share:
            progress.seconds_left = progress.seconds * (1 / progress.share - 1)
    return progress


def newest_checkpoint(folder: Path) -> int | None:
    """Return the step of a run's newest complete checkpoint."""
    steps = [path.parent.name[5:] for path in folder.glob("training/step-*/state.json")]
    return max(map(int, filter(str.isdecimal, steps)), default=None)


def _config(folder: Path) -> dict[str, Any] | None:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config["model"]["position"], config["model"]["vocabulary_size"], config["steps"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dict(config)
