"""Atomic replacement of files and folders: written next to the target, then renamed.

Unfinished files are in a hidden folder `.writing-PID-...`. The process id in its name shows later
commands whether the process that wrote it is still alive.
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
# Errors of the disk, not of the request: no space left, or the disk fails.
OUT_OF_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path; the file written there replaces `path` at the end.

    The temporary file has the same name, in a folder that no other process writes to. If writing
    fails, the old file stays as it was and no temporary file is left. The mode of the new file
    follows the umask.

    Raises:
        OSError: the file cannot be written; `filename` is `path`.
    """
    path = Path(path)
    if path.exists() and not path.is_file():  # /dev/null, say, which root could replace
        number = errno.EISDIR if path.is_dir() else errno.EEXIST
        raise OSError(number, os.strerror(number), str(path))
    with _naming(path), unfinished_folder(path.parent) as folder:
        beside, mode = folder / path.name, _mode_of_a_new_file(folder)
        yield beside
        _finish_file(beside, mode)
        beside.replace(path)


@contextmanager
def replacing_folder(path: str | Path, *, last: str = "") -> Iterator[Path]:
    """Yield a temporary folder, which replaces the folder at `path` at the end.

    A folder with files is replaced by two renames: a kill between them leaves none at `path`. An
    empty folder is kept, since it may be the working directory of a shell, and the files are moved
    into it one by one. Use this function for folders that can be recreated, or that have an older
    version next to them.

    Args:
        last: the file that is moved last, which says that the others are complete.

    Raises:
        OSError: the folder cannot be written; `filename` is `path`.
    """
    path = Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)
    with _naming(path), unfinished_folder(path.parent) as folder:
        beside, mode = folder / path.name, _mode_of_a_new_file(folder)
        beside.mkdir()
        yield beside
        for file in beside.iterdir():
            _finish_file(file, mode)
        flush(beside)
        if path.is_dir() and not any(path.iterdir()):
            for file in sorted(beside.iterdir(), key=lambda file: file.name == last):
                file.rename(path / file.name)
            flush(path)
        else:
            if path.exists():
                path.rename(folder / "replaced")
            beside.rename(path)
        flush(path.parent)


def write_text(path: str | Path, text: str) -> None:
    """Replace a text file atomically, in UTF-8; lone surrogates are escaped."""
    with replacing(path) as beside:
        beside.write_bytes(text.encode("utf-8", "backslashreplace"))


def flush(path: Path) -> None:
    """Write the buffers of a file or folder to the disk (fsync); on Windows only of a file."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def reclaim(folder: Path, *, also_own: bool = False) -> None:
    """Remove the unfinished files that dead processes left in a folder.

    Args:
        also_own: remove those with the id of this process too. The caller has just locked the
            folder and has written nothing yet, so an earlier process had the same id (in a
            container every process may have id 1).
    """
    with suppress(OSError):
        for path in folder.iterdir():
            left_over = LEFT_OVER.fullmatch(path.name)
            if left_over and _is_over(int(left_over[1]), also_own):
                shutil.rmtree(path, ignore_errors=True)


def cannot_write(path: str | Path, error: OSError, remedy: str) -> BadInput | Failed:
    """Return the error to raise when a file or folder cannot be written.

    Args:
        remedy: what the user can do, unless the disk is full.
    """
    why = error.strerror or str(error)
    if error.errno in OUT_OF_ROOM:
        return Failed(f"cannot write {path}: {why}: free some space", code="atomic.no-space")
    return BadInput(f"cannot write {path}: {why}: {remedy}", code="atomic.cannot-write")


def new_unfinished_folder(parent: Path) -> Path:
    """Create a folder for unfinished files in another one."""
    return Path(tempfile.mkdtemp(prefix=f".writing-{os.getpid()}-", dir=parent))


@contextmanager
def unfinished_folder(parent: Path) -> Iterator[Path]:
    """Create a folder for unfinished files in another one, and remove it afterwards."""
    folder = new_unfinished_folder(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Make an OSError name the target and not the temporary file."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename = str(path)
        raise


def _mode_of_a_new_file(folder: Path) -> int:
    """Return the mode that a new file gets, from the umask or the folder's default ACL."""
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
