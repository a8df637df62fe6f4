"""Files and folders that are replaced whole or not at all: written beside, then renamed into place.

What is being written lies in a hidden folder `.writing-PID-...`, so that whoever comes after a
kill knows whose it was.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wordorder.errors import BadInput, Failed

LEFT_OVER = re.compile(r"\.writing-(\d+)(-.*)?")
# The request was right: there is no room, or the disk is failing.
OUT_OF_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a path to write to; what is there at the end takes the place of the file at once.

    It has the file's name and is in a folder that no other process writes to. Where writing fails
    the file stays as it was, and nothing is left beside it. The new file has the mode that the
    umask gives, whatever wrote it.

    Raises:
        OSError: with `filename` set to the file.
    """
    path = Path(path)
    if path.exists() and not path.is_file():  # /dev/null, say, which root could replace
        number = errno.EISDIR if path.is_dir() else errno.EEXIST
        raise OSError(number, os.strerror(number), str(path))
    with _naming(path), _beside(path) as folder:
        beside, mode = folder / path.name, _mode_of_a_new_file(folder)
        yield beside
        _finish_file(beside, mode)
        beside.replace(path)


@contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """Give a folder to write into, which takes the place of another, or of none, at the end.

    A kill in the very moment of the exchange can leave neither of the two: for folders that can be
    made again, or that have an older one beside them.

    Raises:
        OSError: with `filename` set to the folder.
    """
    path = Path(path)
    with _naming(path), _beside(path) as folder:
        beside, mode = folder / path.name, _mode_of_a_new_file(folder)
        beside.mkdir()
        yield beside
        for file in beside.iterdir():
            _finish_file(file, mode)
        flush(beside)
        if path.exists():
            path.rename(folder / "replaced")
        beside.rename(path)
        flush(path.parent)


def write_text(path: str | Path, text: str) -> None:
    """Replace a text file, in UTF-8; half a surrogate pair, which has none, is escaped."""
    with replacing(path) as beside:
        beside.write_bytes(text.encode("utf-8", "backslashreplace"))


def flush(path: Path) -> None:
    """Have what was written to a file or folder reach the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def reclaim(folder: Path, *, also_own: bool = False) -> None:
    """Remove what dead processes were writing into a folder.

    Args:
        also_own: what this process seems to be writing too: it holds the folder and has not begun,
            so that the number is that of another one, long gone (in a container all are 1).
    """
    with suppress(OSError):
        for path in folder.iterdir():
            left_over = LEFT_OVER.fullmatch(path.name)
            if left_over and _is_over(int(left_over[1]), also_own):
                shutil.rmtree(path, ignore_errors=True)


def cannot_write(path: str | Path, error: OSError, remedy: str) -> BadInput | Failed:
    """Return what to raise where a file or folder cannot be written.

    Args:
        remedy: what to do, unless it is room that is missing.
    """
    why = error.strerror or str(error)
    if error.errno in OUT_OF_ROOM:
        return Failed(f"{path} cannot be written: {why}: make room")
    return BadInput(f"{path} cannot be written: {why}: {remedy}")


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Make a folder of this process's own beside a path, and remove it."""
    folder = Path(tempfile.mkdtemp(prefix=f".writing-{os.getpid()}-", dir=path.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let an error name what was to be written and not what lies beside it."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename = str(path)
        raise


def _mode_of_a_new_file(folder: Path) -> int:
    """Return the mode that the umask, or the folder's own rule, gives to a new file."""
    probe = folder / "mode"
    probe.touch()
    mode = probe.stat().st_mode & 0o777
    probe.unlink()
    return mode


def _finish_file(path: Path, mode: int) -> None:
    if path.stat().st_mode & 0o777 != mode:
        path.chmod(mode)
    flush(path)


def _is_over(process: int, also_own: bool) -> bool:
    if process == os.getpid():
        return also_own
    if os.name == "nt":  # where signal 0 is Ctrl-C
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        return False
    return False
