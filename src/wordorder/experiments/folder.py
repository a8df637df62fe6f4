"""The folder of an experiment, which goes on with what is there and touches nothing of others."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from wordorder.atomic import write_text
from wordorder.errors import BadInput


def holds(folder: Path, record: str, *, ours: Iterable[str] = (), overwrite: bool = False) -> bool:
    """Return whether a folder holds an experiment's record, to be gone on with.

    Args:
        record: the file by which an experiment's folder is known.
        ours: what an experiment leaves.
        overwrite: take that away, where the record is there; nothing else is touched.

    Raises:
        BadInput: a file, or a folder of other things.
    """
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise BadInput(f"{folder} is a file: choose another --out")
    if not (folder / record).exists():
        if any(folder.iterdir()):
            raise BadInput(f"{folder} is a folder of other things: choose another --out")
        return False
    if overwrite:
        for there in (folder / name for name in ours):
            shutil.rmtree(there) if there.is_dir() else there.unlink(missing_ok=True)
    return not overwrite


def write_record(path: Path, text: str) -> None:
    """Write an experiment's record, and the folder around it.

    Raises:
        BadInput: where it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise BadInput(
            f"{path.parent} cannot be written: {error.strerror}: choose another --out"
        ) from None
