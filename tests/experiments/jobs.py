"""Jobs that the tests of the runner run in processes of their own."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from wordorder.errors import BadInput

LONG = 300  # seconds, of what a test ends or fails to: longer than a busy machine takes
THREADS_AT_IMPORT = os.environ.get("OMP_NUM_THREADS")  # torch reads it when it is imported


def doubled(job: dict[str, Any], tell: Any) -> dict[str, Any]:
    """Return twice the number, and where it was worked out; tell half-way."""
    import torch

    tell(0.5, f"working on {job['number']}")
    print("this is no message")
    os.system("echo nor is this")
    return {
        "twice": 2 * job["number"],
        "process": os.getpid(),
        "threads": torch.get_num_threads(),
        "threads_at_import": THREADS_AT_IMPORT,
    }


def peak(job: dict[str, Any], tell: Any) -> int:
    """Return the peak memory that this process has held."""
    from wordorder.experiments.paired_run import _peak_bytes

    return _peak_bytes()


def refusing(job: dict[str, Any], tell: Any) -> int:
    """Fail in the way the job asks for; else return 1."""
    if job["how"] == "bad input":
        raise BadInput("no such\nthing")
    if job["how"] == "bug":
        raise KeyError("missing")
    if job["how"] == "exit":
        sys.exit("needs CUDA")
    if job["how"] == "death":
        os.kill(os.getpid(), 9)
    return 1


def sleeping(job: dict[str, Any], tell: Any) -> None:
    """Write down that it began and, when interrupted, that it saved."""
    folder, number = Path(job["folder"]), job["number"]
    began = folder / f"began-{number}.new"
    began.write_text(str(os.getpid()))
    try:
        tell(0.0, "began")
        began.rename(folder / f"began-{number}")
        time.sleep(LONG)
    except KeyboardInterrupt:
        try:
            time.sleep(0.3)  # a second interrupt would end it here
        except KeyboardInterrupt:
            sys.exit("interrupted twice")
        Path(folder, f"saved-{number}").touch()
        raise


def stubborn(job: dict[str, Any], tell: Any) -> None:
    """Write down that it began and that it was interrupted, and go on."""
    while True:
        beside = Path(job["folder"], "began.new")
        beside.write_text(str(os.getpid()))
        try:
            beside.rename(Path(job["folder"], "began"))
            time.sleep(LONG)
        except KeyboardInterrupt:
            Path(job["folder"], "interrupted").touch()


def killed_by_the_other(job: dict[str, Any], tell: Any) -> int:
    """Begin twice; the second kills the first, and goes on for a moment."""
    mine = Path(job["folder"], job["n"])
    beside = mine.with_suffix(".new")
    beside.write_text(str(os.getpid()))
    beside.rename(mine)
    first = mine.with_name("0")
    deadline = time.monotonic() + LONG
    while not first.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    if job["n"] == "0":
        time.sleep(LONG)
    os.kill(int(first.read_text()), signal.SIGKILL)
    time.sleep(0.3)
    return os.getpid()


def meeting(job: dict[str, Any], tell: Any) -> bool:
    """Return whether another job ran at the same time."""
    mine, other = Path(job["folder"], job["name"]), Path(job["folder"], job["other"])
    mine.touch()
    deadline = time.monotonic() + LONG
    while not other.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def dying_once(job: dict[str, Any], tell: Any) -> int:
    """Die the first time, and return how many times it began."""
    times = Path(job["folder"], "times")
    with times.open("a") as file:
        file.write("x")
    if len(times.read_text()) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return len(times.read_text())
