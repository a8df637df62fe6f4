"""Opens compressed files as if they were plain: .gz, .bz2, .xz and .zst, by the end of their name.

Python reads .zst itself from version 3.14; before, the package backports.zstd does.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from wordorder.errors import BadInput

try:
    from compression import zstd  # type: ignore[import-not-found, unused-ignore]
except ImportError:
    try:
        from backports import zstd
    except ImportError:
        zstd = None


@dataclass(frozen=True)
class Compression:
    """One way of compressing a file.

    Args:
        magic: the first bytes of such a file.
        unpack: the shell command that writes the contents to stdout.
        file: opens a binary file for reading or writing, given it and a mode.
    """

    name: str
    magic: bytes
    unpack: str
    file: Callable[[IO[bytes], Any], Any]


def _zstandard(raw: IO[bytes], mode: Any) -> Any:
    if zstd is None:
        raise BadInput(
            '.zst before Python 3.14 needs the backports.zstd package: pip install "'
            'wordorder[data]"',
            code="text.missing-zstd",
        )
    return zstd.ZstdFile(raw, mode)


COMPRESSIONS = {
    ".gz": Compression(
        "gzip",
        b"\x1f\x8b\x08",
        "gunzip -c",
        lambda raw, mode: gzip.GzipFile(fileobj=raw, mode=mode, compresslevel=6),
    ),
    ".bz2": Compression("bzip2", b"BZh9", "bunzip2 -c", bz2.BZ2File),
    ".xz": Compression("xz", b"\xfd7zXZ\0", "unxz -c", lzma.LZMAFile),
    ".zst": Compression("zstd", b"\x28\xb5\x2f\xfd", "unzstd -c", _zstandard),
}
*_OTHERS, _LAST = COMPRESSIONS
SUFFIXES = f"{', '.join(_OTHERS)} or {_LAST}"  # for messages
DAMAGE = (EOFError, zlib.error, lzma.LZMAError, *([zstd.ZstdError] if zstd else []))


def check_writable(path: Path | str) -> None:
    """Raise BadInput if a file cannot be compressed as its name says."""
    if (how := compression_of(path)) is not None:
        how.file(io.BytesIO(), "wb").close()


def compression_of(path: Path | str) -> Compression | None:
    """Return how a file is compressed; None for a plain one."""
    return COMPRESSIONS.get(Path(path).suffix.lower())


def plain_name(path: Path | str) -> str:
    """Return the name of a file without its folder and without .gz and the like."""
    return Path(path).name if compression_of(path) is None else Path(path).stem


def decompressed(raw: IO[bytes], path: Path | str) -> Any:
    """Return a file of the contents of an open binary file; itself if it is plain.

    Args:
        path: the file's name.
    """
    compression = compression_of(path)
    return raw if compression is None else compression.file(raw, "rb")


def decompress(data: bytes, path: Path | str) -> bytes:
    """Return the contents of a file, given its bytes and its name."""
    if compression_of(path) is None:
        return data
    contents: bytes = decompressed(io.BytesIO(data), path).read()
    return contents


@contextmanager
def damage_named(path: Path, source: str) -> Iterator[None]:
    """Say what is wrong with a compressed file that is truncated or damaged.

    Args:
        source: name of the file, for the message.

    Raises:
        BadInput: it is.
    """
    compression = compression_of(path)
    try:
        yield
    except (OSError, *DAMAGE) as error:
        # gzip and bz2 raise an OSError without a number; those of the system have one.
        if compression is None or getattr(error, "errno", None) is not None:
            raise
        raise BadInput(
            f"{source} is not a complete {compression.name} file ({error}): download or compress "
            "it again",
            code="text.damaged-compression",
        ) from None
