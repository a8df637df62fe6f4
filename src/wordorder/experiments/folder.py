"""The folder of an experiment, which goes on with what is there and touches nothing of others."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from wordorder.atomic import cannot_write, write_text
from wordorder.folders import FolderKind, check_free, is_of_kind, replacing_contents


def goes_on(folder: Path, kind: FolderKind, *, overwrite: bool = False) -> bool:
    """Return whether a folder, whose lock must be held, holds an experiment to be gone on with.

    Args:
        overwrite: it is to be replaced instead; nothing is removed yet.

    Raises:
        BadInput: a folder of other things.
    """
    check_free(folder, kind, overwrite=True, remedy="")
    return is_of_kind(folder, kind) and not overwrite


def beginning(folder: Path, kind: FolderKind, *, goes_on: bool) -> AbstractContextManager[None]:
    """Replace what is there, unless it is gone on with, by what is written within."""
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
