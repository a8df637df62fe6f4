"""Jobs: functions whose results are stored with everything that they depend on.

A job is described by its function and its settings. The file of its result also holds this
description; a job is run again only if it does not match. Results and settings are JSON, because a
job may run on another machine.

Nothing here imports torch: a launcher sets threads after importing this and before torch.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wordorder.atomic import cannot_write, write_text
from wordorder.errors import BadInput, Failed, Refused, of_embedding
from wordorder.folders import has_keys

SECONDS_TO_SAVE = 60.0  # how long a job may save after Ctrl-C before its process is killed

Settings = Mapping[str, Any]
Tell = Callable[[float, str], None]


@dataclass(frozen=True)
class Job:
    """One computation, and everything that its result depends on.

    Args:
        name: its name in output, such as "rotary seed 0".
        function: at the top level of a module, `function(settings, tell) -> result`. It is imported
            where it runs, and calls `tell(share, line)` to report progress.
        settings: JSON; the result depends only on these. They include a hash of the data.
        how: JSON; further settings that do not affect the result: a folder, a command.
        path: the file of the result; None: not stored.
        threads: CPU threads.
        alone: whether it measures time, so that no other job may run beside it.
        seconds: its approximate time, in any unit that all jobs share.
        in_words: formats the result for the line printed when the job ends.
        sound: whether a stored result is one that the function returns; a damaged one is computed
            again.
        older: returns the result from a record of an earlier version; None if the record is of
            another job.
    """

    name: str
    function: Callable[[Any, Tell], Any]
    settings: Settings
    how: Settings = field(default_factory=dict)
    path: Path | None = None
    threads: int = 1
    alone: bool = False
    seconds: float = 1.0
    in_words: Callable[[Any], str] = lambda result: "done"
    sound: Callable[[Any], bool] = lambda result: True
    older: Callable[[Settings], Any] = lambda record: None

    @property
    def key(self) -> str:
        """The digest of the function's name and the settings."""
        described = json.dumps([self.function.__qualname__, self.settings])
        # A setting added later with the value None does not change the keys of earlier results.
        described = json.loads(described, object_hook=_without_none)
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()

    def order(self) -> dict[str, Any]:
        """Return the job as JSON for the process that runs it; `perform` takes it."""
        order = {
            "function": f"{self.function.__module__}:{self.function.__qualname__}",
            "key": self.key,
            "job": self.settings,
            "how": self.how,
            "path": self.path and str(self.path),
        }
        return dict(json.loads(json.dumps(order)))


@dataclass(frozen=True)
class Outcome:
    """The result or the error of a job.

    Args:
        result: the return value of its function after a round trip through JSON; None if it failed.
        error: one line on why it failed; None if it succeeded.
        details: its stderr, with a traceback if the error is a bug.
        seconds: its time.
    """

    result: Any = None
    error: str | None = None
    details: str = ""
    seconds: float = 0.0


def stored(job: Job) -> Outcome | None:
    """Return the stored outcome of a job; None if there is none with the same key."""
    record = read_stored(job)
    if record is None:
        return None
    try:
        if record.get("key") == job.key:
            outcome = Outcome(record["result"], seconds=float(record["seconds"]))
        elif "key" in record or (result := job.older(record)) is None:
            return None
        else:
            outcome = Outcome(result, seconds=record.get("seconds", 0.0))
        return outcome if job.sound(outcome.result) else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def remove_unsound(job: Job) -> None:
    """Take its key from the stored result of a job if it is damaged.

    Launchers that only see the job's order then run it again; its peak memory stays known.
    """
    if job.path is not None and stored(job) is None and stored_for(job.order()) is not None:
        write_text(job.path, json.dumps({**(read_stored(job) or {}), "key": ""}))


def read_stored(job: Job) -> dict[str, Any] | None:
    """Return the record in a job's file, with any key; None if there is none."""
    return _read(job.path)


def stored_for(order: Mapping[str, Any]) -> Outcome | None:
    """Return the outcome that is stored for an order, as `Job.order` returns it, or None."""
    record = _read(order["path"] and Path(order["path"]))
    if record is None or record.get("key") != order["key"]:
        return None
    try:
        return Outcome(record["result"], seconds=float(record["seconds"]))
    except (KeyError, TypeError, ValueError):
        return None


def _read(path: Path | None) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8")) if path else None
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def is_stored_result(path: Path) -> bool:
    """Return whether a file holds a job's result, of this version or an earlier one."""
    return has_keys(path, ("job", "seconds", "result"))


def perform(order: Mapping[str, Any], function: Callable[[Any, Tell], Any], tell: Tell) -> Outcome:
    """Run a job in this process and store its result; every launcher calls it where the job runs.

    An error becomes the outcome's; the traceback of a bug goes to stderr.
    """
    began = time.perf_counter()
    try:
        result = json.loads(json.dumps(function({**order["job"], **order["how"]}, tell)))
        seconds = time.perf_counter() - began
        if order["path"]:
            _store(Path(order["path"]), order, seconds, result)
    except (BadInput, Failed, Refused) as error:
        return Outcome(error=" ".join(str(error).split()))
    except (Exception, SystemExit) as error:  # an embedding may call sys.exit
        message = of_embedding(error)
        if message is None:
            traceback.print_exc(file=sys.stderr)
            message = f"{type(error).__name__}: {error}"
        return Outcome(error=" ".join(message.split()))
    return Outcome(result, seconds=seconds)


def check_code(position: str, code: str | None) -> None:
    """Check that user-defined embeddings are as they were when the command began.

    A job imports them when it starts, and its result is kept under the code of that beginning.

    Args:
        code: their digest then; None: the spec has none.

    Raises:
        BadInput: their code has changed.
    """
    from wordorder.positions import code_of

    if code is not None and code_of(position) != code:
        raise BadInput(
            f"the code of {position} has changed since this command began: give the same command "
            "again",
            code="experiments.code-changed-meanwhile",
        )


def function_of(order: Mapping[str, Any]) -> Callable[[Any, Tell], Any]:
    """Import the function that a job runs."""
    module, _, name = order["function"].partition(":")
    function: Callable[[Any, Tell], Any] = getattr(importlib.import_module(module), name)
    return function


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _store(path: Path, order: Mapping[str, Any], seconds: float, result: Any) -> None:
    described = {name: order[name] for name in ("function", "key", "job")}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({**described, "seconds": seconds, "result": result}) + "\n")
    except OSError as error:
        raise cannot_write(path, error, "choose another --out") from None
