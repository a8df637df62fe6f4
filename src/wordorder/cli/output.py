"""The streams that commands print to: what happens when the reader of a pipe goes away.

Output that nobody reads is discarded and the command goes on, so that `wordorder train | head`
trains to its end. `wordorder generate` stops instead, because its text is its only result.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any

from wordorder.control_characters import escaped

GONE = (errno.EPIPE, errno.EIO)  # the reader of a pipe; the terminal of a closed connection


def prepare_streams() -> None:
    """Make stdout and stderr independent of who reads them and of their encoding.

    Output to a closed stream (`>&-`) or to a reader that has gone is discarded. Characters that a
    stream cannot encode are escaped.
    """
    sys.stdout, sys.stderr = _prepared(sys.stdout), _prepared(sys.stderr)


def end_with_reader() -> None:
    """Make printing raise BrokenPipeError, from now on, if the reader of stdout has gone."""
    raw = _raw(sys.stdout)
    if isinstance(raw, _Discarding):
        raw.raises = True


def write(text: str) -> None:
    """Print a piece of a model's text; on a terminal its control characters are escaped."""
    print(escaped(text) if sys.stdout.isatty() else text, end="", flush=True)


def discard(handle: int) -> None:
    """Discard all further output of a file descriptor."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, handle)
    os.close(nowhere)


class _Discarding(io.FileIO):
    """A file descriptor whose output is discarded once its reader has gone.

    Attributes:
        raises: raise BrokenPipeError instead.
    """

    raises = False

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if self.raises or error.errno not in GONE:
                raise
        discard(self.fileno())
        return super().write(data)


def _prepared(stream: Any) -> Any:
    if stream is None:
        return io.StringIO()
    if stream in (sys.__stdout__, sys.__stderr__) and type(_raw(stream)) is io.FileIO:
        stream.flush()
        raw: Any = _Discarding(stream.fileno(), "w", closefd=False)
        return io.TextIOWrapper(
            raw if stream.write_through else io.BufferedWriter(raw),  # PYTHONUNBUFFERED
            encoding=stream.encoding,
            errors="backslashreplace",
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
    return stream


def _raw(stream: Any) -> Any:
    """Return the unbuffered file of a stream, or None."""
    buffer = getattr(stream, "buffer", None)
    return getattr(buffer, "raw", buffer)
