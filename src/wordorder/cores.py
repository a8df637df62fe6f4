"""How many processor cores this process may use, which can be fewer than the machine has."""

from __future__ import annotations

import os


def cores() -> int:
    """Return the number of cores that the system lets this process use, at least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
