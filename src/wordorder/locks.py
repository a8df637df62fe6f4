"""One process at a time writes to a folder: a lock that ends with the process that holds it.

The operating system keeps the lock, not the file: a process that is killed holds nothing any
more, and a lock file that it left behind means nothing. Where a file system has no locks (some
network shares) nothing is refused.
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
FAR = 1 << 30  # Windows keeps others from reading what is locked: a byte past the end
SECONDS_BETWEEN_TRIES = 0.1


@contextmanager
def held(
    folder: Path, *, wait: float = 0.0, remedy: str = "choose another --out"
) -> Iterator[None]:
    """Hold a folder against every other process, and make it where it is not there.

    What dead processes were writing in it is removed. A folder that was made here and is empty in
    the end is removed again.

    Args:
        wait: seconds to wait for a process that holds it.
        remedy: what to do where it cannot be written.

    Raises:
        BadInput: a file, or a folder that cannot be written.
        Failed: there is no room for a file.
        Refused: another process holds it.
    """
    made: list[Path] = []
    try:
        try:
            made += (path for path in (folder, *folder.parents) if not path.exists())
            folder.mkdir(parents=True, exist_ok=True)
            handle = _taken(folder / LOCK, str(folder), wait)
        except FileExistsError:
            what = "a file" if folder.is_file() else "a link to nothing"
            raise BadInput(f"{folder} is {what}: {remedy}") from None
        except (OSError, ValueError) as error:  # ValueError: a null character in the name
            wrong = error if isinstance(error, OSError) else OSError(str(error))
            raise cannot_write(_short(folder), wrong, remedy) from None
        try:
            reclaim(folder, also_own=True)
            yield
        finally:
            _release(handle, folder / LOCK)
    finally:
        for path in made:
            with suppress(OSError, ValueError):
                path.rmdir()


@contextmanager
def held_file(path: Path, *, remedy: str = "choose another --out") -> Iterator[None]:
    """Hold one file of a folder that others may write other files to.

    Raises:
        BadInput: a folder that cannot be written.
        Refused: another process holds it.
    """
    lock = path.with_name(f".wordorder-{zlib.crc32(os.fsencode(path.name)):08x}.lock")
    try:
        handle = _taken(lock, str(path), 0.0)
    except OSError as error:
        raise cannot_write(_short(path), error, remedy) from None
    try:
        yield
    finally:
        _release(handle, lock)


def is_passing(name: str) -> bool:
    """Whether a file's name is that of a lock, or of what is half written: nothing that stays."""
    return name == LOCK or LEFT_OVER.fullmatch(name) is not None


def _taken(path: Path, what: str, wait: float) -> int:
    """Return the open lock file, locked.

    Raises:
        OSError: it cannot be written.
        Refused: another process has locked it.
    """
    deadline = time.monotonic() + wait
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if _lock(handle):
                if _is_still(path, handle):
                    with suppress(OSError):  # a full disk: it is held, but by whom is not said
                        os.ftruncate(handle, 0)
                        os.write(handle, f"{os.getpid()}\n".encode())
                    return handle
            elif time.monotonic() >= deadline:
                raise Refused(
                    f"{what} is being written by another wordorder ({_holder(handle)}): wait until "
                    "it is done, stop it, or choose another --out"
                )
            else:
                time.sleep(SECONDS_BETWEEN_TRIES)
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _release(handle: int, path: Path) -> None:
    """Remove the lock file while it is still locked, so that whoever waits sees it is gone."""
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
    """Whether the file that was locked is the one that is there: its holder may have removed it."""
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
    """Return a path of at most a line."""
    text = str(path)
    return text if len(text) <= 200 else f"{text[:150]}...{text[-30:]}"
