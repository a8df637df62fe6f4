"""Commands of wordorder that run in a process and a session of their own.

Such a process outlives the studio that started it. It is found again by its id together with the
time at which it began: the operating system gives ids out again, and another program with the same
id must not be interrupted.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from wordorder.errors import BadInput

BOOT = Path("/proc/sys/kernel/random/boot_id")
WINDOWS = os.name == "nt"


def check_system() -> None:
    """Check that a process can be started here, and interrupted later as Ctrl-C does.

    Raises:
        BadInput: the operating system is Windows, where it cannot be.
    """
    if WINDOWS:
        raise BadInput(
            "on Windows the studio cannot start runs, only show them: copy the command of this "
            "page into a terminal, then open the run with wordorder studio RUN",
            code="studio.windows",
        )


def start(arguments: Sequence[str], log: Path) -> tuple[int, str]:
    """Start a command of wordorder; return its process id and the time at which it began.

    Args:
        arguments: those of `wordorder`, the command first.
        log: the file that its output is added to.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "wordorder", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal of the studio does not reach it
        )
    began = began_at(process.pid) or ""
    # A process that nobody waits for would stay as a zombie once it has ended.
    threading.Thread(target=process.wait, daemon=True).start()
    return process.pid, began


def began_at(pid: int) -> str | None:
    """Return when a running process began, in a form of the system's own; None if it has ended."""
    if BOOT.exists():  # Linux
        try:
            # After the name in parentheses, which may have spaces: the state, and 19 fields later
            # the start in clock ticks since boot.
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2]
            state, ticks = fields.split()[0], fields.split()[19]
        except (OSError, IndexError):
            return None
        return None if state in "ZX" else f"{BOOT.read_text().strip()} {ticks}"
    listed = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, began = listed.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else began.strip()


def is_running(pid: int, began: str) -> bool:
    """Return whether this very process still runs."""
    return bool(began) and began_at(pid) == began


def interrupt(pid: int, began: str) -> None:
    """Send a process what Ctrl-C sends; nothing if it has ended."""
    if is_running(pid, began):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)


def kill(pid: int, began: str) -> None:
    """End a process at once, with those that it started; nothing if it has ended."""
    if is_running(pid, began):
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # `start` gave it a session, and so a group, of its own
