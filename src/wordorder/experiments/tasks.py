"""A grid of algorithmic tasks, embeddings and seeds, each run a process of its own.

A run takes about a minute, so it is not resumed: an interrupted run starts again from step 0, and a
run with a stored result is not repeated. The folder contains:

    tasks.json                    the settings, and the command
    runs/TASK/POSITION-seedN.json    one run: the job, and its result with its curve
    results.jsonl                 all of them, a line each, failed ones too
    table.csv  figures/  report.html    generated from these
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from wordorder.atomic import write_text
from wordorder.cores import cores
from wordorder.errors import BadInput, Failed
from wordorder.experiments.algorithms import find
from wordorder.experiments.cluster import ClusterLauncher
from wordorder.experiments.folder import beginning, figure_files, goes_on, write_record
from wordorder.experiments.jobs import (
    Job,
    Outcome,
    Settings,
    Tell,
    check_code,
    is_stored_result,
    read_stored,
)
from wordorder.experiments.runner import (
    Launcher,
    Progress,
    at_once_in_words,
    run_jobs,
    run_what_is_left,
)
from wordorder.experiments.task_training import (
    Protocol,
    in_words,
    protocol_of,
    seconds_of,
    train_on_task,
)
from wordorder.experiments.task_views import FIGURES
from wordorder.folders import FolderKind, has_keys
from wordorder.locks import held
from wordorder.model import shape_of
from wordorder.names import file_name
from wordorder.numerals import counted
from wordorder.positions import canonical, code_of
from wordorder.settings import Positive, Repetitions, check
from wordorder.text.user_text import user_path
from wordorder.training.plan import readable_seconds
from wordorder.version import __version__

DEFAULT_TASKS = ("copy", "repeat", "reverse", "sort")
POSITIONS = ("none", "sinusoidal", "rotary", "alibi", "t5")
THREADS = 1  # per run: such small models do not use two, and results do not depend on the machine

# The files that a grid writes, and that --overwrite removes; other files in the folder stay.
GRID = FolderKind(
    "a grid of tasks",
    record="tasks.json",
    keys=("protocols", "positions", "seeds"),
    files=(
        "results.jsonl",
        "table.csv",
        "report.html",
        *figure_files(FIGURES),
        "runs/*/*-seed*.json",
    ),
    proofs={
        "runs/*/*-seed*.json": lambda path: (
            is_stored_result(path) or has_keys(path, ("protocol", "curve"))
        )
    },
)


@dataclass(frozen=True)
class TasksConfig:
    """The settings of a grid.

    Args:
        tasks, positions: names of tasks, specs of embeddings.
        seeds: how many runs of each, numbered from 0.
        steps, length: of training, instead of each task's own.

    Raises:
        BadInput: an unknown task, or an invalid number.
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
        positions = dict.fromkeys(map(canonical, self.positions))
        object.__setattr__(self, "positions", tuple(positions))
        object.__setattr__(self, "tasks", tuple(dict.fromkeys(self.tasks)))
        for name in ("tasks", "positions"):
            if not getattr(self, name):
                raise BadInput(
                    f"--{name} is empty: give at least one", code="experiments.nothing-to-run"
                )
        for task in self.tasks:
            find(task)

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        """How each task is trained."""
        return tuple(protocol_of(t, self.steps, self.length) for t in self.tasks)

    def jobs(self) -> list[Job]:
        """Return every run: of each task, all embeddings with the first seed, then the next."""
        runs = user_path(self.out) / "runs"
        return [
            Job(
                f"{protocol.task} {position} seed {seed}",
                run_one,
                {
                    "protocol": asdict(protocol),
                    "position": position,
                    "seed": seed,
                    "code": code_of(position),  # None: not of a user
                },
                path=runs / protocol.task / f"{file_name(position)}-seed{seed}.json",
                threads=THREADS,
                in_words=lambda result: in_words(result["curve"][-1]["trials"]),
                older=lambda record: record["curve"] and record,
            )
            for protocol in self.protocols
            for seed in range(self.seeds)
            for position in self.positions
        ]


def run_tasks(
    config: TasksConfig,
    *,
    show: Progress | None = None,
    command: str | None = None,
    processes: int = 0,
    launcher: Launcher | None = None,
) -> Path:
    """Run or resume a grid, and return its folder.

    Args:
        show: receives progress events; None: no output.
        command: the command line, for the report.
        processes: number of runs at once; 0: one per core, or as many as the cluster takes.
        launcher: where runs are computed; None: in processes of this machine.

    Raises:
        BadInput: an invalid embedding, or a folder that cannot be used.
        Refused: another process is writing to the folder.
        KeyboardInterrupt: after Ctrl-C; the same call continues.
    """
    folder = user_path(config.out)
    with held(folder):
        _run_tasks(folder, config, show or Progress(), command, processes, launcher)
    return folder


def _run_tasks(
    folder: Path,
    config: TasksConfig,
    show: Progress,
    command: str | None,
    processes: int,
    launcher: Launcher | None,
) -> None:
    """Run a grid in its folder, whose lock is held."""
    _check_positions(config)
    there = goes_on(folder, GRID, overwrite=config.overwrite)
    jobs = config.jobs()
    for job in jobs if there else []:
        _check_protocol(job, folder)
    with beginning(folder, GRID, goes_on=there):
        _write(folder, config, command)
    cluster = launcher if isinstance(launcher, ClusterLauncher) else None
    processes = processes or (cluster.at_once if cluster else cores())

    def plan(left: list[Job]) -> tuple[str, float]:
        if done := len(jobs) - len(left):
            are = "is" if done == 1 else "are"
            show.say(f"{done} of {counted(len(jobs), 'run')} {are} already finished")
        show.say("timing a step with each embedding")
        at_once = min(processes, len(left))
        # Steps are timed here: in the queue of a cluster they might wait for hours.
        timed_at_once = min(cores(), len(left)) if cluster else at_once
        seconds = expected_seconds(left, timed_at_once, None if cluster else launcher)
        seconds *= timed_at_once / at_once
        heading = f"{counted(len(left), 'run')}, {at_once_in_words(at_once)} with "
        threads = counted(THREADS, "thread")
        return f"{heading}{threads} each: about {readable_seconds(seconds)}", seconds

    run_what_is_left(
        jobs,
        at_once=processes,
        plan=plan,
        show=show,
        changed=lambda outcomes: _write_results(folder, jobs, outcomes),
        launcher=launcher,
    )


def run_one(job: Settings, tell: Tell) -> dict[str, Any]:
    """Train one model, and return its protocol and its curve."""
    check_code(job["position"], job["code"])
    try:
        return train_on_task(Protocol(**job["protocol"]), job["position"], job["seed"], tell)
    except Failed as error:  # drop its advice, which names options of `wordorder train`
        raise Failed(
            str(error).partition(": try ")[0], code="experiments.task-run-failed"
        ) from None


def time_some(job: Settings, tell: Tell) -> dict[str, Any]:
    """Return the estimated times of some runs, and how long the estimate took, in seconds."""
    began, step_seconds = time.perf_counter(), []
    for run in job["runs"]:
        try:
            step_seconds.append(seconds_of(Protocol(**run["protocol"]), run["position"]))
        except Exception:  # its own run fails too, and reports why
            step_seconds.append(0.0)
    return {"seconds": step_seconds, "took": time.perf_counter() - began}


def expected_seconds(
    jobs: Sequence[Job], processes: int, launcher: Launcher | None = None
) -> float:
    """Estimate the time of all runs from a few steps of each, timed as many at once as they run."""
    kinds = {_kind(job.settings): job.settings for job in jobs}
    shares = [list(kinds)[first::processes] for first in range(min(processes, len(kinds)))]
    began = time.perf_counter()
    timings = [
        Job("timing", time_some, {"runs": [kinds[kind] for kind in share]}, threads=THREADS)
        for share in shares
    ]
    outcomes = run_jobs(timings, at_once=processes, launcher=launcher)
    elapsed = time.perf_counter() - began
    seconds: dict[str, float] = {}
    took = 0.0  # by the process that timed longest, of what all took together
    for share, outcome in zip(shares, outcomes, strict=True):
        if outcome.error is None:
            seconds |= zip(share, outcome.result["seconds"], strict=True)
            took = max(took, outcome.result["took"])
    start = max(0.0, elapsed - took)  # startup time of a process
    return sum(start + seconds.get(_kind(job.settings), 0.0) for job in jobs) / processes


def _kind(job: Settings) -> str:
    return f"{job['protocol']['task']} {job['position']}"


def _check_positions(config: TasksConfig) -> None:
    """Build every model once, so that a wrong spec is known before anything is written."""
    for protocol in config.protocols:
        for position in config.positions:
            shape_of(protocol.training(position, seed=0).model)


def _check_protocol(job: Job, folder: Path) -> None:
    """Check that a stored run was trained with the same protocol.

    Raises:
        BadInput: it was trained by another one.
    """
    record, wanted = read_stored(job) or {}, job.settings["protocol"]
    protocol = record.get("job", record).get("protocol", wanted)
    for name, value in wanted.items():
        if protocol.get(name) != value:
            raise BadInput(
                f"{folder} holds {wanted['task']} with {name} {protocol.get(name)}, not {value}: "
                "choose another --out, or replace it with --overwrite",
                code="experiments.other-protocol",
            )


def _write(folder: Path, config: TasksConfig, command: str | None) -> None:
    record = {
        "wordorder": __version__,
        "torch": torch.__version__,
        "command": command,
        "positions": list(config.positions),
        "seeds": config.seeds,
        "protocols": [asdict(protocol) for protocol in config.protocols],
    }
    write_record(folder / "tasks.json", json.dumps(record, indent=1) + "\n")


def _write_results(folder: Path, jobs: Sequence[Job], outcomes: Sequence[Outcome | None]) -> None:
    ended = [(job, outcome) for job, outcome in zip(jobs, outcomes, strict=True) if outcome]
    lines = [o.result if o.error is None else {**j.settings, "failed": o.error} for j, o in ended]
    write_text(folder / "results.jsonl", "".join(f"{json.dumps(line)}\n" for line in lines))
