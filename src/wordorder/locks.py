"""Locks that let one process at a time write to a folder; they end with the process.

The operating system holds the lock (flock), not the file: after a kill the lock is free, even if
the lock file remains. On file systems without locks (some network shares) every process may write.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wordorder.atomic import LEFT_OVER, cannot_write, reclaim
from wordorder.errors import BadInput, Refused

LOCK = ".wordorder.lock"
SUBMITTED = ".wordorder-jobs"  # a folder with the files of jobs that a cluster runs
# Windows keeps other processes from reading locked bytes, so the locked byte is past the end.
FAR = 1 << 30
SECONDS_BETWEEN_TRIES = 0.1
MOST_REMOVED = 100  # times that a folder is created again


@contextmanager
def held(
    folder: Path, *, wait: float = 0.0, remedy: str = "choose another --out"
) -> Iterator[None]:
    """Lock a folder for this process; the folder is created if it does not exist.

    Unfinished files of dead processes are removed. A folder that was created here and is still
    empty at the end is removed again.

    Args:
        wait: seconds to wait for another process to release the lock.
        remedy: what the user can do if the folder cannot be written.

    Raises:
        BadInput: `folder` is a file, or cannot be written.
        Failed: the disk is full.
        Refused: another process holds the lock.
    """
    created: list[Path] = []
    try:
        try:
            handle = _locked(folder / LOCK, str(folder), wait, remedy, created)
        except FileExistsError:
            obstacle = "a file" if folder.is_file() else "a broken symbolic link"
            raise BadInput(
                f"{folder} is {obstacle}, not a folder: {remedy}", code="locks.not-a-folder"
            ) from None
        except (OSError, ValueError) as error:  # ValueError: a null character in the name
            os_error = error if isinstance(error, OSError) else OSError(str(error))
            raise cannot_write(_short(folder), os_error, remedy) from None
        try:
            reclaim(folder, also_own=True)
            yield
        finally:
            _release(handle, folder / LOCK)
    finally:
        for path in created:
            with suppress(OSError, ValueError):
                path.rmdir()


@contextmanager
def held_file(path: Path, *, remedy: str = "choose another --out") -> Iterator[None]:
    """Lock one file for this process; other files of its folder stay free.

    Raises:
        BadInput: the folder cannot be written.
        Refused: another process holds the lock.
    """
    lock = path.with_name(f".wordorder-{zlib.crc32(os.fsencode(path.name)):08x}.lock")
    try:
        handle = _locked(lock, str(path), 0.0, remedy)
    except OSError as error:
        raise cannot_write(_short(path), error, remedy) from None
    try:
        yield
    finally:
        _release(handle, lock)


def is_temporary(name: str) -> bool:
    """Return whether a file name is that of a lock, an unfinished file or submitted jobs."""
    return name in (LOCK, SUBMITTED) or LEFT_OVER.fullmatch(name) is not None


def _locked(
    path: Path, target: str, wait: float, remedy: str, created: list[Path] | None = None
) -> int:
    """Lock a lock file and return its file descriptor.

    Args:
        target: the folder or file that the lock protects, for the message.
        created: receives the folders that are created for the lock file; None: create none.

    Raises:
        OSError: the lock file cannot be written.
        Refused: another process holds the lock.
    """
    deadline, removed = time.monotonic() + wait, 0
    while True:
        if created is not None:
            created += (p for p in (path.parent, *path.parent.parents) if not p.exists())
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # perhaps its last holder has just removed the folder
            removed += 1
            if created is None or removed > MOST_REMOVED:
                raise
            continue
        try:
            if _lock(handle):
                if _is_still(path, handle):
                    with suppress(OSError):  # full disk: the lock holds without the process id
                        os.ftruncate(handle, 0)
                        os.write(handle, f"{os.getpid()}\n".encode())
                    return handle
            elif time.monotonic() >= deadline:
                other = f", or {remedy}" if remedy.startswith("choose another") else ""
                raise Refused(
                    f"another wordorder ({_holder(handle)}) is writing to {target}: wait until "
                    f"it is done, or stop it{other}",
                    code="locks.in-use",
                )
            else:
                time.sleep(SECONDS_BETWEEN_TRIES)
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _release(handle: int, path: Path) -> None:
    """Remove the lock file while it is locked, so that waiting processes notice."""
    with suppress(OSError):
        path.unlink()
    os.close(handle)


def _lock(handle: int) -> bool:
    try:
        import fcntl
    except ImportError:
        import msvcrt  # Windows

        os.lseek(handle, FAR, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        finally:
            os.lseek(handle, 0, os.SEEK_SET)
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks
    return True


def _is_still(path: Path, handle: int) -> bool:
    """Return whether the locked file still exists: the previous holder may have removed it."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _holder(handle: int) -> str:
    try:
        return f"process {int(os.pread(handle, 32, 0))}"
    except (OSError, ValueError, AttributeError):
        return "another process"


def _short(path: Path) -> str:
    """Return a path, shortened to about 180 characters."""
    text = str(path)
    return text if len(text) <= 200 else f"{text[:150]}...{text[-30:]}"
