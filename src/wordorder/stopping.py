"""Signals that end a command like Ctrl-C: SIGTERM, SIGHUP and the warnings of batch systems.

The exit code is 128 plus the signal's number, as in shells: 130, 143, 129 and so on.
"""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

# Slurm, Docker and systemd send SIGTERM. Before a job's time limit, Grid Engine and Slurm's
# --signal send SIGUSR1, LSF sends SIGUSR2. Of these Windows has only SIGTERM.
NAMES = ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
SIGNALS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]


class Stopped(KeyboardInterrupt):
    """Raised by a signal that ends the command, as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def exit_code(error: KeyboardInterrupt) -> int:
    """Return the exit code of a command that a signal ended."""
    return 128 + (error.number if isinstance(error, Stopped) else signal.SIGINT)


def report(error: KeyboardInterrupt, message: str) -> None:
    """Record that the user has seen a message about a stop, so that it is not repeated."""
    error.add_note(message)


def is_reported(error: KeyboardInterrupt) -> bool:
    """Return whether the user has been told that the command was stopped."""
    return bool(getattr(error, "__notes__", ()))


def stop(number: int, frame: Any = None) -> None:
    """Raise the exception that belongs to a signal.

    Raises:
        KeyboardInterrupt: always; `Stopped` unless the signal is SIGINT.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Stopped(number)


@contextmanager
def handling(handler: Callable[[int, Any], Any] = stop, *, ctrl_c: bool = False) -> Iterator[None]:
    """Call a function at these signals, except those that the parent ignores (nohup).

    Args:
        ctrl_c: call it at SIGINT too, ignored or not.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.getsignal(n) for n in SIGNALS}
    before = {n: old for n, old in before.items() if old not in (signal.SIG_IGN, None)}
    if ctrl_c:
        before[signal.SIGINT] = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: Any) -> None:
        if number == getattr(signal, "SIGHUP", None):
            _write_to_no_terminal()
        handler(number, frame)

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)  # None: not Python's


def _write_to_no_terminal() -> None:
    """Redirect stdout and stderr to null if they are a terminal, which is gone after SIGHUP."""
    for handle in (1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(handle).st_mode):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, handle)
                os.close(nowhere)
