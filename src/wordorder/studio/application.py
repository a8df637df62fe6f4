"""The application: the page, its files, the endpoints of all rooms, and errors as messages."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

from wordorder.atomic import OUT_OF_ROOM, cannot_write
from wordorder.errors import BadInput, CodedError
from wordorder.numerals import counted
from wordorder.positions import CATALOGUE, PositionError
from wordorder.studio.guard import Guard
from wordorder.studio.opened import OpenRuns, Runs, embedding_of
from wordorder.studio.palette import colours
from wordorder.studio.rooms import ROOMS
from wordorder.studio.snapshots import Snapshots
from wordorder.studio.speed import Speeds
from wordorder.studio.workshop import TheWorkshop, Workshop
from wordorder.training.run import Run
from wordorder.version import __version__

STATIC = Path(__file__).parent / "static"


class RoomEntry(BaseModel):
    """A room in the menu."""

    name: str
    title: str
    purpose: str


class RunEntry(BaseModel):
    """An open run; `about` is a line for people."""

    name: str
    position: str
    kind: str
    causal: bool
    predicts_next: bool
    layers: int
    heads: int
    trained_length: int
    about: str


class EmbeddingEntry(BaseModel):
    """An embedding of the catalogue; colours are for a light and for a dark page."""

    name: str
    door: str
    summary: str
    colour: str
    dark_colour: str


class StudioEntry(BaseModel):
    """What the page needs before it draws a room."""

    version: str
    rooms: list[RoomEntry]
    runs: list[RunEntry]
    embeddings: list[EmbeddingEntry]


def create_app(
    runs: OpenRuns,
    token: str = "",
    names: tuple[str, ...] = (),
    workshop: Workshop | None = None,
) -> FastAPI:
    """Return the application.

    Args:
        runs: the runs that it shows.
        token: needed in the page's URL; "" for none.
        names: host names of this machine, besides addresses and localhost.
        workshop: where new runs are trained; None: in `runs`.
    """
    # The pages of FastAPI load scripts from a CDN; /openapi.json stays.
    app = FastAPI(title="wordorder studio", version=__version__, docs_url=None, redoc_url=None)
    app.state.runs = runs
    app.state.workshop = workshop or Workshop(runs)
    app.state.speeds, app.state.snapshots = Speeds(), Snapshots()
    app.add_middleware(Guard, token=token, names=names)
    for error in (CodedError, PositionError):
        app.add_exception_handler(error, _bad_input)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(OSError, _of_the_system)
    app.get("/api/studio")(studio)
    for room in ROOMS:
        app.include_router(room.router, prefix=f"/api/{room.name}", tags=[room.title])
    app.get("/", include_in_schema=False)(_page)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


def studio(runs: Runs, workshop: TheWorkshop) -> StudioEntry:
    """Return the rooms, the open runs, those trained here too, and the embeddings."""
    workshop.open_runs()
    return StudioEntry(
        version=__version__,
        rooms=[RoomEntry(name=r.name, title=r.title, purpose=r.purpose) for r in ROOMS],
        runs=[_run_entry(name, run) for name, run in runs if run.folder.is_dir()],
        embeddings=[
            EmbeddingEntry(name=name, door=kind.door, summary=kind.summary, **colours(name))
            for name, kind in CATALOGUE.items()
        ],
    )


def _run_entry(name: str, run: Run) -> RunEntry:
    config = run.model_config.resolved
    kind = embedding_of(run) or "GRU"
    layers = f"{counted(config.layers, 'layer')} of width {config.width}"
    return RunEntry(
        name=name,
        position=embedding_of(run),
        kind=config.kind,
        causal=config.causal,
        predicts_next=not run.fills_in,
        layers=config.layers,
        heads=config.heads,
        trained_length=config.trained_length,
        about=f"{kind}, {layers}, trained on {config.trained_length:,} tokens at a time",
    )


async def _page() -> FileResponse:
    return FileResponse(STATIC / "index.html")


async def _bad_input(request: Request, error: Exception) -> JSONResponse:
    code = getattr(error, "code", "")
    return JSONResponse({"message": " ".join(str(error).split()), "code": code}, 422)


async def _of_the_system(request: Request, error: Exception) -> JSONResponse:
    """Return an error of the disk or of a file, such as a full disk, as a message."""
    assert isinstance(error, OSError)
    if error.strerror is None:  # not the operating system's, so a bug
        raise error
    path = error.filename or request.app.state.workshop.folder
    if error.errno in OUT_OF_ROOM:
        return await _bad_input(request, cannot_write(path, error, "free some space"))
    ours = BadInput(
        f"{path}: {error.strerror}: check that it is there, and who may read and write it",
        code="studio.cannot-use-file",
    )
    return await _bad_input(request, ours)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """Return the first thing that is wrong with a request, in words."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, PositionError):
        return await _bad_input(request, cause)
    name = next((str(n) for n in reversed(first["loc"]) if isinstance(n, str)), "the request")
    name = name.replace("_", " ")  # as the page's labels have it: trained length
    message = f"{name}: {first['msg'][:1].lower()}{first['msg'][1:]}"
    if first["type"] == "string_too_short":
        message = f"the {name} is empty: type something"
    return JSONResponse({"message": message, "code": "studio.invalid-request"}, 422)
