"""Jobs: functions whose results are stored by what they depend on.

A job is described by its function and its settings. Its result is a file that holds this
description beside the result, so that a job whose result is there is not run again, and one of
another description is. Results are JSON, and so are settings: a job may run on another machine.

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
from wordorder.errors import BadInput, Failed, Refused
from wordorder.folders import has_keys

SECONDS_TO_SAVE = 60.0  # what a job has after Ctrl-C before its process is killed

Settings = Mapping[str, Any]
Tell = Callable[[float, str], None]


@dataclass(frozen=True)
class Job:
    """One computation, and everything that its result depends on.

    Args:
        name: what people call it, as "rotary seed 0".
        function: of a module's top level, `function(settings, tell) -> result`. It is imported
            anew where it runs, and calls `tell(share, line)` now and then with the share done.
        settings: JSON; the result depends on these alone. They include a fingerprint of data.
        how: JSON; further settings that leave the result as it is: a folder, a command.
        path: the file of the result; None: it is not stored.
        threads: CPU threads.
        alone: it measures time, so no other job may run beside it.
        seconds: about how long it takes, in any unit that all jobs share.
        in_words: from the result to what a person reads when the job has ended.
        older: from a file's record as earlier versions wrote it to the result; None if the record
            is of another job.
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
    older: Callable[[Settings], Any] = lambda record: None

    @property
    def key(self) -> str:
        """The digest of the function's name and the settings."""
        described = json.dumps([self.function.__qualname__, self.settings])
        # A setting that is added later, and off, leaves the keys of earlier results as they are.
        described = json.loads(described, object_hook=_without_none)
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()

    def order(self) -> dict[str, Any]:
        """Return what is sent to where the job runs, as JSON; `perform` takes it."""
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
    """How a job ended.

    Args:
        result: what its function returned, as JSON gives it back; None if it failed.
        error: one line on why it failed; None if it did not.
        details: what it wrote to stderr, with a traceback if the error is a bug.
        seconds: how long it took.
    """

    result: Any = None
    error: str | None = None
    details: str = ""
    seconds: float = 0.0


def stored(job: Job) -> Outcome | None:
    """Return how a job ended whose result is stored; None if there is none of this description."""
    record = read_stored(job)
    if record is None:
        return None
    if record.get("key") == job.key:
        return Outcome(record["result"], seconds=record["seconds"])
    try:
        result = None if "key" in record else job.older(record)
    except (KeyError, TypeError):
        return None
    return None if result is None else Outcome(result, seconds=record.get("seconds", 0.0))


def read_stored(job: Job) -> dict[str, Any] | None:
    """Return the record in a job's file, of whatever description; None if there is none."""
    try:
        record = json.loads(job.path.read_text(encoding="utf-8")) if job.path else None
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def is_stored_result(path: Path) -> bool:
    """Whether a file holds a job's result, by this version or an earlier one."""
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
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return Outcome(error=" ".join(f"{type(error).__name__}: {error}".split()))
    return Outcome(result, seconds=seconds)


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
