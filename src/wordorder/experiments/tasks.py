"""A grid of algorithmic tasks, embeddings and seeds, each run a process of its own.

A run takes about a minute, so it is done whole or not at all: the file it leaves says what it
was trained by, a run that has one is not done again, and what was stopped in the middle starts
anew. The folder that is left:

    tasks.json                    what was asked for, and how
    runs/TASK/POSITION-seedN.json    one run: its protocol and its curve
    results.jsonl                 all of them, a line each, failed ones too
    table.csv  figures/  report.html    what people read, made from these
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from wordorder.atomic import write_text
from wordorder.errors import BadInput, Failed
from wordorder.experiments.algorithms import TASKS, find
from wordorder.experiments.folder import beginning, goes_on, write_record
from wordorder.experiments.side_by_side import Job, Outcome, Progress, Tell, run_jobs
from wordorder.experiments.task_training import (
    Protocol,
    protocol_of,
    seconds_of,
    train_on_task,
)
from wordorder.folders import Kind, has_keys
from wordorder.locks import held
from wordorder.model import shape_of
from wordorder.names import file_name
from wordorder.numerals import counted
from wordorder.positions import canonical
from wordorder.settings import Positive, Repetitions, check
from wordorder.text.user_text import user_path
from wordorder.version import __version__

DEFAULT_TASKS = ("copy", "repeat", "reverse", "sort")
POSITIONS = ("none", "sinusoidal", "rotary", "alibi", "t5")
THREADS = 1  # of a run: these models do not keep two busy, and a run is the same on every machine

# What a grid leaves, and so what --overwrite removes: nothing else in the folder is touched.
GRID = Kind(
    "a grid of tasks",
    record="tasks.json",
    keys=("protocols", "positions", "seeds"),
    files=(
        "results.jsonl",
        "table.csv",
        "report.html",
        *(
            f"figures/{name}.{kind}"
            for task in TASKS
            for name in (f"lengths-{task}", f"curve-{task}")
            for kind in ("png", "svg")
        ),
        "runs/*/*-seed*.json",
    ),
    proofs={"runs/*/*-seed*.json": lambda path: has_keys(path, ("protocol", "curve"))},
)

RunJobs = Callable[..., list[Outcome]]


@dataclass(frozen=True)
class TasksConfig:
    """What is asked for.

    Args:
        tasks, positions: names of tasks, specs of embeddings.
        seeds: how many runs of each, numbered from 0.
        steps, length: of training, instead of each task's own.

    Raises:
        BadInput: an unknown task, or numbers that cannot be.
    """

    tasks: tuple[str, ...] = DEFAULT_TASKS
    positions: tuple[str, ...] = POSITIONS
    seeds: Repetitions = 3
    steps: Positive | None = None
    length: Positive | None = None
    out: str = "runs/tasks"
    overwrite: bool = False

    def __post_init__(self) -> None:
        check(self)
        object.__setattr__(self, "positions", tuple(map(canonical, self.positions)))
        for name in ("tasks", "positions"):
            if not getattr(self, name):
                raise BadInput(f"--{name} names none: give at least one")
        for task in self.tasks:
            find(task)

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        """How each task is trained."""
        return tuple(protocol_of(t, self.steps, self.length) for t in dict.fromkeys(self.tasks))

    def jobs(self) -> list[dict[str, Any]]:
        """Return every run: of each task, all embeddings with the first seed, then the next."""
        runs = user_path(self.out) / "runs"
        return [
            {
                "protocol": asdict(protocol),
                "position": position,
                "seed": seed,
                "path": str(runs / protocol.task / f"{file_name(position)}-seed{seed}.json"),
            }
            for protocol in self.protocols
            for seed in range(self.seeds)
            for position in dict.fromkeys(self.positions)
        ]


class Display(Progress):
    """What a grid tells while it works, beside the progress of its runs."""

    def say(self, line: str) -> None:
        """One line about something that happened."""

    def plan(self, jobs: Sequence[Job], seconds: float, processes: int) -> None:
        """Runs are about to start, and how long they should take."""


def run_tasks(
    config: TasksConfig,
    *,
    show: Display | None = None,
    command: str | None = None,
    processes: int = 0,
    run: RunJobs = run_jobs,
) -> Path:
    """Run a grid, or what is left of one, and return its folder.

    Args:
        show: what is told while it works; None: nothing.
        command: how it was asked for, for the report.
        processes: how many runs at once; 0: as many as there are cores.
        run: what runs jobs.

    Raises:
        BadInput: an embedding or a folder that cannot be.
        Refused: another process is writing to the folder.
        KeyboardInterrupt: after Ctrl-C; asked again, it goes on.
    """
    folder = user_path(config.out)
    with held(folder):
        _run_tasks(folder, config, show or Display(), command, processes, run)
    return folder


def _run_tasks(
    folder: Path,
    config: TasksConfig,
    show: Display,
    command: str | None,
    processes: int,
    run: RunJobs,
) -> None:
    """Run a grid in its folder, whose lock is held."""
    _check_positions(config)
    there = goes_on(folder, GRID, overwrite=config.overwrite)
    jobs = config.jobs()
    lines = {job["path"]: _finished(job, folder) if there else None for job in jobs}
    with beginning(folder, GRID, goes_on=there):
        _write(folder, config, command)
    _write_results(folder, lines.values())
    left = [job for job in jobs if lines[job["path"]] is None]
    if not left:
        return
    if len(left) < len(jobs):
        are = "is" if len(jobs) - len(left) == 1 else "are"
        show.say(f"{len(jobs) - len(left)} of {counted(len(jobs), 'run')} {are} there already")
    processes = min(processes or cores(), len(left))
    show.say("measuring what a step takes with each embedding")
    show.plan(left, expected_seconds(left, processes, run), processes)
    _run(folder, left, lines, processes, show, run)


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_one(job: Job, tell: Tell) -> dict[str, Any]:
    """Train one model, write its file, and return what the file holds."""
    try:
        protocol = Protocol(**job["protocol"])
        result = train_on_task(protocol, job["position"], job["seed"], tell)
    except Failed as error:  # what it tells to try are options of `wordorder train`
        raise Failed(str(error).partition(": try ")[0]) from None
    path = Path(job["path"])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(result) + "\n")
    return result


def time_some(job: Job, tell: Tell) -> dict[str, Any]:
    """Return what some runs should take, and what it took to find out, in seconds."""
    began, found = time.perf_counter(), []
    for run in job["runs"]:
        try:
            found.append(seconds_of(Protocol(**run["protocol"]), run["position"]))
        except Exception:  # it fails in its own run too, where it is told
            found.append(0.0)
    return {"seconds": found, "took": time.perf_counter() - began}


def expected_seconds(jobs: Sequence[Job], processes: int, run: RunJobs = run_jobs) -> float:
    """Return how long runs should take, by a few steps of each, as many at once as they will be."""
    kinds = {_kind(job): job for job in jobs}
    shares = [list(kinds)[first::processes] for first in range(min(processes, len(kinds)))]
    began = time.perf_counter()
    timings = [{"runs": [kinds[kind] for kind in share]} for share in shares]
    outcomes = run(time_some, timings, processes=processes, threads=THREADS)
    elapsed = time.perf_counter() - began
    seconds: dict[str, float] = {}
    for share, outcome in zip(shares, outcomes, strict=True):
        if outcome.error is None:
            seconds |= zip(share, outcome.result["seconds"], strict=True)
            elapsed = min(elapsed, max(0.0, elapsed - outcome.result["took"]))
    start = elapsed  # what a process takes before it can compute
    return sum(start + seconds.get(_kind(job), 0.0) for job in jobs) / processes


def _kind(job: Job) -> str:
    return f"{job['protocol']['task']} {job['position']}"


def _check_positions(config: TasksConfig) -> None:
    """Build every model once, so that a wrong spec is known before anything is written."""
    for protocol in config.protocols:
        for position in config.positions:
            shape_of(protocol.training(position, seed=0).model)


def _finished(job: Job, folder: Path) -> dict[str, Any] | None:
    """Return what a run that is done has left; None where there is none, or a damaged one.

    Raises:
        BadInput: it was trained by another protocol.
    """
    try:
        result = json.loads(Path(job["path"]).read_text(encoding="utf-8"))
        protocol, _ = result["protocol"], result["curve"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    for name, value in job["protocol"].items():
        if protocol.get(name) != value:
            raise BadInput(
                f"{folder} holds {job['protocol']['task']} with {name} {protocol.get(name)}, not "
                f"{value}: choose another --out, or replace it by --overwrite"
            )
    return result


def _write(folder: Path, config: TasksConfig, command: str | None) -> None:
    record = {
        "wordorder": __version__,
        "torch": torch.__version__,
        "command": command,
        "positions": list(dict.fromkeys(config.positions)),
        "seeds": config.seeds,
        "protocols": [asdict(protocol) for protocol in config.protocols],
    }
    write_record(folder / "tasks.json", json.dumps(record, indent=1) + "\n")


def _write_results(folder: Path, lines: Iterable[dict[str, Any] | None]) -> None:
    text = "".join(f"{json.dumps(line)}\n" for line in lines if line is not None)
    write_text(folder / "results.jsonl", text)


def _run(
    folder: Path,
    left: Sequence[Job],
    lines: dict[str, dict[str, Any] | None],
    processes: int,
    show: Display,
    run: RunJobs,
) -> None:
    """Run what is left, and write down how each run ended as it ends."""

    def record(number: int, outcome: Outcome) -> None:
        job = left[number]
        lines[job["path"]] = outcome.result if outcome.error is None else _failed(job, outcome)
        _write_results(folder, lines.values())

    run(run_one, left, processes=processes, threads=THREADS, show=show, record=record)


def _failed(job: Job, outcome: Outcome) -> dict[str, Any]:
    """Return the line of a run that failed; it has no file, and so is tried again."""
    kept = {name: job[name] for name in ("protocol", "position", "seed")}
    return {**kept, "failed": outcome.error}
