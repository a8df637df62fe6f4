"""Writes in a thread of its own while training goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable


class BackgroundWriter:
    """Calls one function at a time in another thread.

    An error there is raised by the next call of `start`, `check` or `wait`.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        # Up to Python 3.12 a thread counts as ended once Ctrl-C has interrupted a `join` of it.
        self._ended = threading.Event()
        self._error: BaseException | None = None

    def start(self, write: Callable[[], None]) -> None:
        """Call a function in another thread, once the one before has ended."""
        self.wait()

        self._ended = ended = threading.Event()

        def call() -> None:
            try:
                write()
            except BaseException as error:  # for the thread that waits
                self._error = error
            finally:
                ended.set()

        self._thread = threading.Thread(target=call, name="checkpoint")
        self._thread.start()

    def check(self) -> None:
        """Raise the error of a function that has ended."""
        if self._ended.is_set():
            self.wait()

    def wait(self) -> None:
        """Wait until the function has ended, and raise its error."""
        if self._thread is not None:
            while not self._ended.wait(1.0) and self._thread.ident is not None:
                pass
            thread, self._thread = self._thread, None
            if thread.ident is not None:  # Ctrl-C may have come before its start
                thread.join()
        error, self._error = self._error, None
        if error is not None:
            raise error
