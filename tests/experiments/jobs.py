"""Jobs that the tests of `side_by_side` run in processes of their own."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch

from wordorder.errors import BadInput


def doubled(job: dict[str, Any], tell: Any) -> dict[str, Any]:
    """Return twice the number, and where it was worked out; tell half-way."""
    tell(0.5, f"working on {job['number']}")
    print("this is no message")
    os.system("echo nor is this")
    return {"twice": 2 * job["number"], "process": os.getpid(), "threads": torch.get_num_threads()}


def refusing(job: dict[str, Any], tell: Any) -> int:
    """Fail in the way the job asks for; else return 1."""
    if job["how"] == "bad input":
        raise BadInput("no such\nthing")
    if job["how"] == "bug":
        raise KeyError("missing")
    if job["how"] == "death":
        os.kill(os.getpid(), 9)
    return 1


def sleeping(job: dict[str, Any], tell: Any) -> None:
    """Write down that it began and, when interrupted, that it saved."""
    Path(job["folder"], f"began-{job['number']}").touch()
    try:
        tell(0.0, "began")
        time.sleep(60)
    except KeyboardInterrupt:
        Path(job["folder"], f"saved-{job['number']}").touch()
        raise


def meeting(job: dict[str, Any], tell: Any) -> bool:
    """Return whether another job ran at the same time."""
    mine, other = Path(job["folder"], job["name"]), Path(job["folder"], job["other"])
    mine.touch()
    deadline = time.monotonic() + 20
    while not other.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
