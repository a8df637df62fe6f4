"""Runs `wordorder` in forked processes, which have imported everything and so begin at once.

Reads a line of JSON for each request and answers each with one:

    {"run": ARGUMENTS, "folder": FOLDER, ...}   -> its process number
    {"wait": PROCESS}                           -> its exit code, negative for a signal

A run writes what it says to FOLDER/PROCESS.out and .err. It may be given `kill_at`, the number of
the change to a file or folder at which it is killed; `full_at`, that from which nothing new can
be written; and `file_bytes`, the size that no file may grow past. Changes are counted in `counted`
alone, a name of part of a path; how many there were is written to PROCESS.changes.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import tyro  # noqa: F401

import wordorder.cli.train
import wordorder.extension.extend  # noqa: F401
from wordorder.atomic import write_text
from wordorder.cli.main import main
from wordorder.training import report, training

report.draw_losses = lambda path, *_: write_text(path, "a picture")  # drawn, it takes longer
training.SAMPLE_TOKENS = 8
os.fsync = lambda file: None  # as conftest.py has it: a kill loses nothing that was written

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.rename": 0, "os.mkdir": 0, "os.remove": 0, "os.rmdir": 0, "open": 0, "os.chmod": 0}
NEEDS_ROOM = {"os.mkdir", "open"}


def watch(job: dict[str, Any]) -> None:
    """Count changes to files, and kill this process or let the disk be full at one of them."""
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in CHANGES or job["counted"] not in os.fsdecode(_path(arguments[0])):
            return
        if event == "open" and not (arguments[2] or 0) & WRITING:
            return
        seen += 1
        if seen == job.get("kill_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        if seen >= job.get("full_at", sys.maxsize) and event in NEEDS_ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), arguments[0])

    sys.addaudithook(hook)
    job["seen"] = lambda: seen


def _path(value: Any) -> Any:
    return value if isinstance(value, str | bytes | os.PathLike) else ""


def run(job: dict[str, Any]) -> None:
    """Run a command in this process, and leave."""
    # Whoever started the tests may ignore them: nohup the one, a shell's & the other.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(job["folder"])
    name, flags = f"{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for handle, suffix in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{name}.{suffix}", flags), handle)
    if "file_bytes" in job:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["file_bytes"], resource.RLIM_INFINITY))
    watch(job)
    code = 70
    try:
        code = main(job["run"])
    except BaseException:
        traceback.print_exc()
    Path(f"{name}.changes").write_text(str(job["seen"]()))
    sys.stdout.flush()
    os._exit(code)


def answer(request: dict[str, Any]) -> int:
    if "wait" in request:
        return os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
    process = os.fork()
    if not process:
        run(request)
    return process


if __name__ == "__main__":
    for line in sys.stdin:
        print(answer(json.loads(line)), flush=True)
