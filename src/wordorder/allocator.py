"""How glibc treats freed memory: kept for a training loop, returned for long sequences.

On other C libraries both functions do nothing.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress


def keep_large_blocks() -> None:
    """Let glibc keep freed blocks, which it would otherwise return and request at each step."""
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


def return_freed_pages() -> None:
    """Return freed pages to the operating system.

    Small allocations fragment the memory that a large computation frees, so the next one takes new
    memory: 0.15 GiB more with each of 24 pieces of PaTH attention at 16,384 tokens.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
