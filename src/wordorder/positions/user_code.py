"""Detects whether the code of a user-defined embedding has changed since a run used it."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from .base import Position

PACKAGE = (__package__ or "").partition(".")[0]


def digest_of(classes: Iterable[type[Position]]) -> str | None:
    """Return a digest of the files that define user-defined embeddings; None without a file.

    The files are those of the classes and of their bases outside of wordorder. Blank lines, comment
    lines and trailing spaces are ignored. Other imports of these files are not followed.
    """
    files = {
        file
        for kind in classes
        for base in kind.__mro__
        if issubclass(base, Position) and base.__module__.partition(".")[0] != PACKAGE
        for file in _file_of(base)
    }
    texts = [_without_comments(file.read_text("utf-8", "replace")) for file in sorted(files)]
    return hashlib.sha256("\f".join(texts).encode()).hexdigest() if texts else None


def _file_of(kind: type) -> Iterator[Path]:
    module: ModuleType | None = inspect.getmodule(kind)
    with suppress(OSError, TypeError):  # defined at a prompt
        if module is not None and (file := inspect.getsourcefile(module)) and Path(file).is_file():
            yield Path(file)


def _without_comments(text: str) -> str:
    lines = (line.rstrip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.lstrip().startswith("#"))
