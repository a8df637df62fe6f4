"""The runs and comparisons that a page has started, in one folder.

    runs/NAME/               what the command wrote: a run, or a comparison
    runs/NAME.txt            the text that was pasted or uploaded for it
    runs/.studio/NAME.json   what was started, and as which process
    runs/.studio/NAME.log    what the command printed

A studio that is started again finds them here. Requests name a job; only names of this list become
paths, and a new name is reduced to letters, digits and hyphens first.
"""

from __future__ import annotations

import json
import re
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from fastapi import Depends, Request

from wordorder.atomic import cannot_write, write_text
from wordorder.errors import BadInput, CodedError
from wordorder.experiments.comparison import RECORD
from wordorder.locks import held
from wordorder.studio import detached
from wordorder.studio.opened import OpenRuns, check_utf8
from wordorder.text.corpus import BUILT_IN

STUDIO, WEIGHTS = ".studio", "model.safetensors"
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
MOST_NAME = 48
LOG_BYTES = 6000  # of its end

Kind = Literal["train", "compare"]
State = Literal["running", "finished", "stopped", "failed"]


@dataclass(frozen=True)
class StartedJob:
    """A command that was started, or a comparison that was found.

    Args:
        folder: of the run or the comparison.
        arguments: of wordorder, with the folder and the text where they are now; empty if it was
            found.
        pid, began: its process; 0 and "" if there is none.
        log: what it printed.
    """

    name: str
    kind: Kind
    folder: Path
    arguments: tuple[str, ...]
    pid: int
    began: str
    log: Path

    @property
    def command(self) -> str:
        return shlex.join(["wordorder", *self.arguments]) if self.arguments else ""

    @property
    def state(self) -> State:
        """Whether it runs; else what it left."""
        if detached.is_running(self.pid, self.began):
            return "running"
        if self.kind == "train":
            if '"final": true' in end_of(self.folder / "metrics.jsonl", 4000):
                return "finished"
            usable = any(self.folder.glob("training/step-*/state.json"))
        else:
            if (self.folder / "report.html").is_file():
                return "finished"
            usable = (self.folder / RECORD).is_file()
        return "stopped" if usable else "failed"

    def log_lines(self, most: int = 30) -> list[str]:
        """Return the last lines that it printed."""
        return end_of(self.log, LOG_BYTES).splitlines()[-most:]


class Workshop:
    """Starts runs and comparisons, finds those started before, and stops them.

    Args:
        runs: the open runs, to which those started here are added.
        folder: where new ones are written.
        comparisons: folders of other comparisons to show.
    """

    def __init__(
        self, runs: OpenRuns, folder: str | Path = "runs", comparisons: Sequence[Path] = ()
    ) -> None:
        check_utf8(Path(folder).resolve())
        self.runs, self.folder, self.comparisons = runs, Path(folder), tuple(comparisons)
        self._starting = threading.Lock()
        self._weights = {run.folder: _written(run.folder / WEIGHTS) for _, run in runs}

    def jobs(self) -> list[StartedJob]:
        """Return what was started here, the latest first, and the comparisons that were found."""
        records = self.folder.glob(f"{STUDIO}/*.json")
        jobs = [job for path in sorted(records, key=_written, reverse=True) if (job := _job(path))]
        known = {job.folder.resolve() for job in jobs}
        names = {job.name for job in jobs}
        given = [*self.comparisons, *sorted(p.parent for p in self.folder.glob(f"*/{RECORD}"))]
        for folder in given:
            if folder.resolve() in known:
                continue
            known.add(folder.resolve())
            parts = folder.resolve().parts
            name = next(
                n for k in range(len(parts)) if (n := "/".join(parts[-k - 1 :])) not in names
            )
            names.add(name)
            jobs.append(StartedJob(name, "compare", folder, (), 0, "", folder / "log"))
        return jobs

    def job(self, name: str, kind: Kind | None = None) -> StartedJob:
        """Return a job by its name.

        Raises:
            BadInput: there is none.
        """
        for job in self.jobs():
            if job.name == name and kind in (None, job.kind):
                return job
        what = {"train": "run", "compare": "comparison", None: "job"}[kind]
        raise BadInput(
            f"no {what} {name[:80]!r} was started in {self.folder}: start one on this page",
            code="studio.no-such-job",
        )

    def running(self) -> StartedJob | None:
        """Return the job that runs."""
        return next((job for job in self.jobs() if job.state == "running"), None)

    def start(
        self,
        kind: Kind,
        typed: str,
        suggested: str,
        text: str | None,
        arguments: Callable[[str, str], list[str]],
    ) -> StartedJob:
        """Start a command, and return its job.

        Args:
            typed: the name that a person typed; empty: `suggested`, with a number if it is taken.
            text: written beside the folder; None: the documentation of Python.
            arguments: maps the data and the new folder to the command line.

        Raises:
            BadInput: the name cannot be used, or something runs already.
        """
        with self._alone():
            name = self.name_for(typed, suggested)
            path, data = self.folder / f"{name}.txt", BUILT_IN
            with _removed_after_failure(path, self._log(name)):
                if text is not None:
                    write_text(path, text)
                    data = str(path)
                return self._begin(kind, name, arguments(data, str(self.folder / name)))

    def go_on(self, name: str) -> StartedJob:
        """Resume a job that was stopped.

        Raises:
            BadInput: there is nothing to resume, or something runs already.
        """
        with self._alone():
            job = self.job(name)
            if job.state != "stopped" or not job.arguments:
                raise BadInput(
                    f"{name} has {job.state}: only what was stopped and has saved can be resumed",
                    code="studio.nothing-to-resume",
                )
            arguments = list(job.arguments)  # the same command goes on with a comparison
            if job.kind == "train":
                arguments = ["train", "--resume", str(job.folder)]
                if (data := _data(job.arguments)) != BUILT_IN:
                    arguments += ["--data", data]
            return self._begin(job.kind, name, arguments, first=job.arguments)

    def stop(self, name: str) -> None:
        """Interrupt a job, which then saves; nothing if it has ended."""
        job = self.job(name)
        detached.interrupt(job.pid, job.began)

    def open_runs(self) -> None:
        """Open every run that has weights, with those that it has now, and the open ones again."""
        for _, run in self.runs:
            self._open(run.folder)
        for job in self.jobs():
            if not job.arguments:
                continue
            if job.kind == "train":
                folders = [job.folder]
            else:
                folders = sorted(path.parent for path in job.folder.glob("runs/*/measures.json"))
            for folder in folders:
                self._open(folder)

    def opened(self, job: StartedJob) -> str:
        """Return the name of a job's run among the open ones; "" if it is not open."""
        return self.runs.name_of(job.folder) or ""

    def _open(self, folder: Path) -> None:
        weights = _written(folder / WEIGHTS)
        if weights and self._weights.get(folder) != weights:
            with suppress(CodedError):  # another embedding's code, or a file being replaced
                self.runs.update(folder)
                self._weights[folder] = weights

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one request of one studio at a time start a job; refuse if one runs."""
        detached.check_system()
        home = self.folder / STUDIO
        with self._starting:
            remedy = "start the studio with another --folder"
            try:
                home.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise cannot_write(home, error, remedy) from None
            with held(home, wait=5.0, remedy=remedy):
                if running := self.running():
                    raise BadInput(
                        f"{running.name} is still running, and two at once would slow each other: "
                        "stop it, or wait until it is done",
                        code="studio.busy",
                    )
                yield

    def name_for(self, typed: str, suggested: str) -> str:
        """Return the name of a new job: what was typed, or `suggested`, with a number if taken.

        Raises:
            BadInput: the typed name is taken, or has no letter or digit.
        """
        name = slug(typed or suggested)
        if not name:
            raise BadInput(
                f"the name {typed[:60]!r} has no letter or digit: use a to z, 0 to 9 and hyphens",
                code="studio.bad-name",
            )
        if self._is_free(name):
            return name
        if typed:
            raise BadInput(
                f"{self.folder / name} exists already: choose another name",
                code="studio.name-taken",
            )
        return next(n for i in range(2, 10_000) if self._is_free(n := f"{name}-{i}"))

    def _is_free(self, name: str) -> bool:
        job = _job(self.folder / STUDIO / f"{name}.json")
        if job is not None and job.state == "failed" and not any(_visible(job.folder)):
            return True  # it left nothing
        return not any((self.folder / n).exists() for n in (name, f"{name}.txt")) and job is None

    def _begin(
        self, kind: Kind, name: str, arguments: list[str], first: Sequence[str] = ()
    ) -> StartedJob:
        log = self._log(name)
        with log.open("a" if first else "w", encoding="utf-8") as file:
            file.write(f"$ {shlex.join(['wordorder', *arguments])}\n")
        pid, began = detached.start(arguments, log)
        record = {"kind": kind, "arguments": list(first or arguments), "pid": pid, "began": began}
        path = log.with_suffix(".json")
        try:
            write_text(path, json.dumps(record, indent=1) + "\n")
        except OSError:
            detached.kill(pid, began)  # without a record no page could stop it
            raise
        job = _job(path)
        assert job is not None
        return job

    def _log(self, name: str) -> Path:
        return self.folder / STUDIO / f"{name}.log"


def slug(text: str) -> str:
    """Return a name for a folder: lower-case letters, digits and single hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:MOST_NAME].strip("-")


def end_of(path: Path, size: int) -> str:
    """Return the last bytes of a file as text; "" if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - size))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


@contextmanager
def _removed_after_failure(*files: Path) -> Iterator[None]:
    """Remove files if what writes them fails."""
    try:
        yield
    except Exception:
        for path in files:
            path.unlink(missing_ok=True)
        raise


def _job(path: Path) -> StartedJob | None:
    """Return the job that a record describes; None if it is no record."""
    if not NAME.fullmatch(path.stem):
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        kind, arguments = record["kind"], tuple(map(str, record["arguments"]))
        pid, began = int(record["pid"]), str(record["began"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if kind not in ("train", "compare"):
        return None
    folder = path.parent.parent / path.stem
    arguments = _placed(arguments, folder)
    return StartedJob(path.stem, kind, folder, arguments, pid, began, path.with_suffix(".log"))


def _placed(arguments: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    """Return the arguments of a job with its folder, and its text beside that, as paths from here.

    They were recorded as paths from where the studio ran, and the folder may have been moved.
    """
    places = {"--out": str(folder)}
    if _data(arguments) != BUILT_IN:
        places["--data"] = f"{folder}.txt"
    return tuple(places.get(option, word) for option, word in pairwise(("", *arguments)))


def _data(arguments: tuple[str, ...]) -> str:
    """Return the text that a job's arguments name."""
    return dict(pairwise(arguments)).get("--data", BUILT_IN)


def _written(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _visible(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("*") if not path.name.startswith("."))


def _workshop(request: Request) -> Workshop:
    workshop: Workshop = request.app.state.workshop
    return workshop


TheWorkshop = Annotated[Workshop, Depends(_workshop)]
