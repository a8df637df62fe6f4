"""Compare: the same model with several embeddings, and the report while it grows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import HTMLResponse
from fastapi.sse import EventSourceResponse
from pydantic import BaseModel, Field

from wordorder.errors import BadInput, CodedError
from wordorder.experiments.comparison import RECORD, Comparison
from wordorder.experiments.grid import Cell, cells_of
from wordorder.studio.fields import RunName, command
from wordorder.studio.orders import CompareOrder
from wordorder.studio.palette import colours
from wordorder.studio.progress import JobProgress, Losses, MetricsReader, changes, losses_of
from wordorder.studio.rooms.build import JobEntry
from wordorder.studio.workshop import StartedJob, State, TheWorkshop, Workshop
from wordorder.text.corpus import BUILT_IN

router = APIRouter()

NEEDED = ("jinja2", "scipy")
REPORT = "report.html"
# The report has no script, and in a folder from someone else none could run either.
REPORT_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


class CommandAnswer(BaseModel):
    """A command line."""

    command: str


class CellEntry(BaseModel):
    """One run of a comparison."""

    position: str
    seed: int
    state: str
    share: float
    losses: Losses


class ResultTable(BaseModel):
    """The results so far, as the report has them."""

    columns: list[str]
    rows: list[list[str]]
    note: str


class EmbeddingColour(BaseModel):
    """The colours of an embedding on a light and on a dark page."""

    colour: str
    dark_colour: str


class CompareProgress(JobProgress):
    """A comparison, and what it has found so far.

    Args:
        headline: what may be concluded, once all runs have ended.
    """

    steps: int = 0
    baseline: str = ""
    seeds: int = 0
    cells: list[CellEntry] = Field(default_factory=list)
    colours: dict[str, EmbeddingColour] = Field(default_factory=dict)
    table: ResultTable | None = None
    headline: str = ""
    report: bool = False


@router.post("/command")
def compare_command(asked: CompareOrder, workshop: TheWorkshop) -> CommandAnswer:
    """Return the command that a comparison would run, after checking it."""
    _check_installed()
    asked.check()
    out = workshop.folder / workshop.name_for(asked.name, "compare")
    data = BUILT_IN if asked.text is None else f"{out}.txt"
    return CommandAnswer(command=command(*asked.arguments(data, str(out))))


@router.post("/start")
def start(asked: CompareOrder, workshop: TheWorkshop) -> JobEntry:
    """Start a comparison."""
    _check_installed()
    asked.check()
    return JobEntry.of(
        workshop.start("compare", asked.name, "compare", asked.text, asked.arguments)
    )


def _comparison_of(name: Annotated[RunName, Query()], workshop: TheWorkshop) -> StartedJob:
    return workshop.job(name, "compare")


@router.get("/watch", response_class=EventSourceResponse)
async def watch_comparison(
    job: Annotated[StartedJob, Depends(_comparison_of)], workshop: TheWorkshop
) -> AsyncIterator[CompareProgress]:
    """Return how a comparison goes, whenever that changes, until it has ended."""
    readers: dict[Path, MetricsReader] = {}
    async for progress in changes(lambda: _look(workshop, job.name, readers)):
        yield progress


@router.get("/report", response_class=HTMLResponse)
def report(job: Annotated[StartedJob, Depends(_comparison_of)]) -> HTMLResponse:
    """Return the report of a comparison, which may run no script."""
    path = job.folder / REPORT
    try:
        page = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        raise BadInput(
            f"{job.name} has no report yet: wait until it is done", code="studio.no-report"
        ) from None
    return HTMLResponse(page, headers={"content-security-policy": REPORT_POLICY})


def _check_installed() -> None:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise BadInput(
            f"a comparison needs {' and '.join(missing)}: pip install 'wordorder[compare]'",
            code="studio.compare-not-installed",
        )


def _look(workshop: Workshop, name: str, readers: dict[Path, MetricsReader]) -> CompareProgress:
    job = workshop.job(name, "compare")
    progress = CompareProgress(
        **CompareProgress.fields_of(job),
        report=(job.folder / REPORT).is_file(),
    )
    workshop.open_runs()
    if not (job.folder / RECORD).is_file():
        return progress
    try:
        comparison = Comparison.read(job.folder)
    except BadInput as error:  # damaged
        return progress.model_copy(update={"state": "failed", "note": str(error)})
    cells = [_cell(cell, readers, job.state) for cell in cells_of(job.folder, comparison)]
    progress.command = progress.command or comparison.command or ""
    progress.steps, progress.seeds = comparison.steps, comparison.seeds
    progress.baseline, progress.cells = comparison.baseline, cells
    progress.share = sum(cell.share for cell in cells) / max(1, len(cells))
    progress.colours = {
        position: EmbeddingColour(**colours(position)) for position in comparison.positions
    }
    _add_results(progress, job.folder)
    return progress


def _cell(cell: Cell, readers: dict[Path, MetricsReader], state: State) -> CellEntry:
    reader = readers.setdefault(cell.folder, MetricsReader(cell.folder / "metrics.jsonl"))
    records = reader.read()
    done = max((r["step"] for r in records if "loss" in r), default=0)
    if (cell.folder / "measures.json").is_file():
        word = "done"
    elif any("final" in record for record in records):
        word = "measuring" if state == "running" else "trained"
    else:
        word = ("training" if state == "running" else "stopped") if done else "waiting"
    share = 1.0 if word == "done" else 0.9 * done / max(1, cell.steps)
    return CellEntry(
        position=cell.position, seed=cell.seed, state=word, share=share, losses=losses_of(records)
    )


def _add_results(progress: CompareProgress, folder: Path) -> None:
    """Add the table of the report, and its first sentence once all runs have ended."""
    try:
        _check_installed()
        from wordorder.experiments import tables  # imports scipy, which is of an extra
        from wordorder.experiments.report import read_summary
        from wordorder.experiments.verdict import verdict

        summary = read_summary(folder)
    except CodedError:
        return
    if not any(result.losses for result in summary.results):
        return
    table = tables.overview(summary)
    progress.table = ResultTable(
        columns=list(table.columns),
        rows=[list(map(str, row)) for row in table.rows],
        note=table.note,
    )
    if not any(result.missing for result in summary.results):
        progress.headline = verdict(summary).headline
