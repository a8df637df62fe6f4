"""A line on stderr for work that takes longer than a person waits without wondering."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 2.0


@contextmanager
def said_if_slow(what: str, seconds: float = SECONDS) -> Iterator[None]:
    """Say what is being done, once, if it is not done after some seconds.

    Args:
        what: as "learning a vocabulary from 1,000,000 characters".
        seconds: how long before it is said.
    """
    timer = threading.Timer(seconds, lambda: print(f"{what} ...", file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
