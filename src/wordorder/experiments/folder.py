"""The folder of an experiment: resuming, overwriting, and leaving other files alone."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from wordorder.atomic import cannot_write, write_text
from wordorder.folders import FolderKind, check_free, is_of_kind, replacing_contents

FIGURE_KINDS = ("png", "svg")


def figure_files(names: Iterable[str]) -> tuple[str, ...]:
    """Return the files of figures, relative to the folder of an experiment."""
    return tuple(f"figures/{name}.{kind}" for name in names for kind in FIGURE_KINDS)


def goes_on(folder: Path, kind: FolderKind, *, overwrite: bool = False) -> bool:
    """Return whether a folder holds an experiment to resume; its lock must be held.

    Args:
        overwrite: whether to replace it instead; nothing is removed yet.

    Raises:
        BadInput: the folder holds other files.
    """
    check_free(folder, kind, overwrite=True, remedy="")
    return is_of_kind(folder, kind) and not overwrite


def beginning(folder: Path, kind: FolderKind, *, goes_on: bool) -> AbstractContextManager[None]:
    """Return a context in which an earlier experiment is replaced, unless it is resumed."""
    return nullcontext() if goes_on else replacing_contents(folder, kind)


def write_record(path: Path, text: str) -> None:
    """Write an experiment's record.

    Raises:
        BadInput: it cannot be written.
        Failed: there is no room.
    """
    try:
        write_text(path, text)
    except OSError as error:
        raise cannot_write(path.parent, error, "choose another --out") from None
