"""Signals that end a command like Ctrl-C: SIGTERM, SIGHUP, and those that batch systems warn with.

The exit code is 128 and the signal's number, the shells' convention: 130, 143, 129 and so on.
"""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

# Slurm, Docker and systemd send SIGTERM; before the end of a job's time Grid Engine and Slurm's
# --signal send SIGUSR1, LSF SIGUSR2. Windows has SIGTERM alone.
NAMES = ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
SIGNALS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]


class Stopped(KeyboardInterrupt):
    """A signal that ends the command, as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def exit_code(error: KeyboardInterrupt) -> int:
    """Return the exit code of a command that was stopped."""
    return 128 + (error.number if isinstance(error, Stopped) else signal.SIGINT)


def stop(number: int, frame: Any = None) -> None:
    """Stop as the signal of this number asks.

    Raises:
        KeyboardInterrupt: always; `Stopped` unless it was Ctrl-C.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Stopped(number)


@contextmanager
def handling(handler: Callable[[int, Any], Any] = stop, *, ctrl_c: bool = False) -> Iterator[None]:
    """Have a function called at those signals, save those that were to be ignored (nohup).

    Args:
        ctrl_c: at SIGINT too, ignored or not.
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
            signal.signal(number, signal.SIG_DFL if old is None else old)  # None: not Python's own


def _write_to_no_terminal() -> None:
    """Have stdout and stderr go nowhere if they are a terminal: it is gone, and writing fails."""
    for handle in (1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(handle).st_mode):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, handle)
                os.close(nowhere)
