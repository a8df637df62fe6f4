"""Build: train a model of one's own, and watch it learn."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.sse import EventSourceResponse
from pydantic import BaseModel, Field

from wordorder.errors import BadInput, Failed
from wordorder.studio.fields import RunName, command
from wordorder.studio.opened import Runs
from wordorder.studio.orders import MOST_TEXT_BYTES, TrainOrder
from wordorder.studio.progress import MetricsReader, RunProgress, changes, progress_of
from wordorder.studio.snapshots import Snapshot
from wordorder.studio.speed import RunEstimate, estimate
from wordorder.studio.workshop import StartedJob, State, TheWorkshop, Workshop
from wordorder.text.corpus import BUILT_IN

router = APIRouter()

SECONDS_TO_EXPORT = 600
DEMO = TrainOrder(name="demo", minutes=40 / 60, checkpoint_every=100)


class JobEntry(BaseModel):
    """A run or a comparison that was started here, or a comparison that was found."""

    name: str
    kind: str
    state: State

    @classmethod
    def of(cls, job: StartedJob) -> JobEntry:
        """Return the entry of a job."""
        return cls(name=job.name, kind=job.kind, state=job.state)


class JobList(BaseModel):
    """All jobs, the latest first."""

    folder: str
    jobs: list[JobEntry]


class JobName(BaseModel):
    """A job of the list."""

    name: RunName


class ExportQuestion(JobName):
    """A run, and the program that it is exported to."""

    to: Literal["hf", "gguf", "onnx"] = "hf"


class EstimateQuestion(TrainOrder):
    """A run that may be trained.

    Args:
        text: not used here.
        text_bytes: of the text; null: the documentation of Python.
        measure: time a step, which takes seconds, if it was not timed before.
    """

    text_bytes: Annotated[int, Field(ge=1, le=MOST_TEXT_BYTES)] | None = None
    measure: bool = False


class SnapshotQuestion(JobName):
    """A run, and a step of which there is a snapshot; null: the newest checkpoint."""

    step: Annotated[int, Field(ge=0)] | None = None


class ExportAnswer(BaseModel):
    """What the export printed."""

    lines: list[str]
    command: str


@router.get("/jobs")
def jobs(workshop: TheWorkshop) -> JobList:
    """Return what was started from the page."""
    return JobList(folder=str(workshop.folder), jobs=[JobEntry.of(job) for job in workshop.jobs()])


@router.post("/estimate")
def run_estimate(asked: EstimateQuestion, workshop: TheWorkshop, request: Request) -> RunEstimate:
    """Return what a run takes on this machine."""
    speeds = request.app.state.speeds
    asked.check()
    step = speeds.known(asked)
    if asked.measure and step is None and workshop.running() is None:
        step = speeds.measure(asked)
    out = workshop.folder / workshop.name_for(asked.name, _suggested(asked))
    data = BUILT_IN if asked.text_bytes is None else f"{out}.txt"
    answer: RunEstimate = estimate(asked, asked.text_bytes, step)
    order = asked.model_copy(update={"checkpoint_every": answer.checkpoint_every})
    answer.command = command(*order.arguments(data, str(out)))
    return answer


@router.post("/start")
def start(asked: TrainOrder, workshop: TheWorkshop) -> JobEntry:
    """Start to train a run."""
    asked.check()
    return JobEntry.of(
        workshop.start("train", asked.name, _suggested(asked), asked.text, asked.arguments)
    )


@router.post("/demo")
def demo(workshop: TheWorkshop) -> JobEntry:
    """Start to train the demo model, or return it if that was done.

    It has a number in its name if another run has that name.
    """
    for job in workshop.jobs():
        if job.arguments == tuple(DEMO.arguments(BUILT_IN, str(workshop.folder / job.name))):
            if job.state in ("running", "finished"):
                return JobEntry.of(job)
            if job.state == "stopped":
                return JobEntry.of(workshop.go_on(job.name))
    DEMO.check()
    return JobEntry.of(workshop.start("train", "", DEMO.name, DEMO.text, DEMO.arguments))


@router.post("/stop")
def stop(asked: JobName, workshop: TheWorkshop) -> JobEntry:
    """Interrupt a job, which then saves."""
    workshop.stop(asked.name)
    return JobEntry.of(workshop.job(asked.name))


@router.post("/resume")
def resume(asked: JobName, workshop: TheWorkshop) -> JobEntry:
    """Resume a job that was stopped."""
    return JobEntry.of(workshop.go_on(asked.name))


def _run_of(name: Annotated[RunName, Query()], workshop: TheWorkshop) -> StartedJob:
    return workshop.job(name, "train")


@router.get("/watch", response_class=EventSourceResponse)
async def watch(
    job: Annotated[StartedJob, Depends(_run_of)], workshop: TheWorkshop
) -> AsyncIterator[RunProgress]:
    """Return how a run goes, whenever that changes, until it has ended; server-sent events."""
    reader = MetricsReader(job.folder / "metrics.jsonl")
    async for progress in changes(lambda: _look(workshop, job.name, reader)):
        yield progress


def _look(workshop: Workshop, name: str, reader: MetricsReader) -> RunProgress:
    job = workshop.job(name, "train")
    workshop.open_runs()
    return progress_of(job, reader, workshop.opened(job))


@router.post("/snapshot")
def snapshot(
    asked: SnapshotQuestion, workshop: TheWorkshop, runs: Runs, request: Request
) -> Snapshot:
    """Return what a model writes and what its embedding is, at a checkpoint."""
    job = workshop.job(asked.name, "train")
    snapshots = request.app.state.snapshots
    answer: Snapshot = (
        snapshots.newest(job, runs.computing)
        if asked.step is None
        else snapshots.at(job, asked.step)
    )
    return answer


_EXPORTING = threading.Lock()


@router.post("/export")
def export(asked: ExportQuestion, workshop: TheWorkshop) -> ExportAnswer:
    """Write a run in the form of another program; `wordorder export` says what it needs."""
    job = workshop.job(asked.name, "train")
    words = ["export", str(job.folder), "--to", asked.to, "--overwrite"]
    if not _EXPORTING.acquire(blocking=False):
        raise BadInput("an export is running: wait until it is done", code="studio.exporting")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "wordorder", *words],
            capture_output=True,
            text=True,
            timeout=SECONDS_TO_EXPORT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failed(
            "the export took too long: try the command in a terminal", code="studio.slow-export"
        ) from None
    finally:
        _EXPORTING.release()
    if done.returncode:
        raise Failed(
            f"{command(*words)} ended with: {_last_line(done.stderr)}", code="studio.export-failed"
        )
    return ExportAnswer(lines=done.stdout.splitlines(), command=command(*words))


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "no message")


def _suggested(order: TrainOrder) -> str:
    return f"{order.preset}-{order.position}"
