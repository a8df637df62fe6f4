"""A message on stderr when work takes longer than two seconds."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 2.0


@contextmanager
def notify_if_slow(activity: str, seconds: float | None = None) -> Iterator[None]:
    """Print the activity on stderr, once, if it is still running after some seconds.

    Args:
        activity: such as "learning a vocabulary from 1,000,000 characters".
        seconds: the delay before the message; None: `SECONDS`.
    """
    delay = SECONDS if seconds is None else seconds
    timer = threading.Timer(delay, lambda: print(f"{activity} ...", file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
