"""Files that are replaced whole or not at all: written beside, then renamed into place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a path to write to; what is there at the end takes the place of the file at once.

    It has the file's suffix, and a name that no other process writes to. Where writing fails the
    file stays as it was, and nothing is left beside it.
    """
    path = Path(path)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.writing{path.suffix}")
    try:
        yield beside
        flush(beside)
        beside.replace(path)
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Replace a text file, in UTF-8; what is none (half a surrogate pair) is escaped."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")


def flush(path: Path) -> None:
    """Have what was written to a file or folder reach the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
