"""What a submitted job does on the machine of the cluster that it gets.

Nothing here imports torch before the threads of the job are set.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from wordorder import stopping
from wordorder.errors import Refused
from wordorder.experiments.jobs import Outcome, Tell, function_of, perform, stored_for
from wordorder.locks import held_file

SECONDS_BETWEEN_TOLD = 1.0
SECONDS_BETWEEN_LOCKS = 2.0  # of a job that waits for another one of the same result


def do_submitted(order: Mapping[str, Any]) -> Outcome | None:
    """Run a submitted job in this process; return None if it was stopped before it was done."""
    if os.environ.get("SUBMITIT_EXECUTOR") == "local":
        with suppress(OSError):
            os.setsid()  # the terminal's Ctrl-C reaches the command alone
    os.environ["OMP_NUM_THREADS"] = str(order["threads"])
    try:
        # Slurm warns with SIGUSR2 before the time is over, and with SIGTERM.
        with stopping.handling(ctrl_c=True):
            import torch

            from wordorder.allocator import keep_large_blocks

            keep_large_blocks()
            torch.set_num_threads(order["threads"])
            return _once(order)
    except KeyboardInterrupt:
        return None


def _once(order: Mapping[str, Any]) -> Outcome:
    """Run a job, unless another process has done it or is doing it."""
    folder, digest = Path(order["folder"]), digest_of(order)
    folder.mkdir(parents=True, exist_ok=True)
    tell = _telling(folder / f"{digest}.told")
    while True:
        try:
            with held_file(folder / digest):
                return stored_for(order) or perform(order, function_of(order), tell)
        except Refused:
            tell(0.0, "waiting for another job that computes the same")
            time.sleep(SECONDS_BETWEEN_LOCKS)


def _telling(path: Path) -> Tell:
    """Return a function that writes progress into a file, not too often."""
    before = 0.0

    def tell(share: float, line: str) -> None:
        nonlocal before
        if time.monotonic() - before >= SECONDS_BETWEEN_TOLD:
            before = time.monotonic()
            write_small(path, {"share": share, "line": line, "process": os.getpid()})

    tell(0.0, "started")
    return tell


def digest_of(order: Mapping[str, Any]) -> str:
    """Return the name of a job's files: one for each result, or for its key if it is not stored."""
    return digest(os.path.abspath(order["path"]) if order["path"] else order["key"])


def digest(text: str) -> str:
    """Return a short name for a text."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


def write_small(path: Path, values: Mapping[str, Any]) -> None:
    """Replace a small file at once; without it only progress or a job in the queue is missed."""
    beside = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")
    with suppress(OSError):
        beside.write_text(json.dumps(values), encoding="utf-8")
        beside.replace(path)


def read_small(path: Path) -> dict[str, Any]:
    """Return what `write_small` wrote; empty if it cannot be read."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
