"""Text that a user brings, from bytes to `str`: the one way in for every file, pipe and argument.

A corpus, a prompt, sentences, pairs, questions and a configuration all come through here, so that
the same words are the same text whatever wrote them: UTF-8, or UTF-16 and UTF-32 that open with a
byte order mark; the mark is left out, and every line ends with a newline. Nothing else is changed.
Where words are compared with words of another source they are also composed (NFC), in
`wordorder.text.words`: a language model learns the text as it is spelt.

Bytes that are no such text are refused in one line that names what is wrong and, where a command
mends it, the command.
"""

from __future__ import annotations

import codecs
import gzip
import os
import shlex
import stat
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from wordorder.errors import BadInput
from wordorder.numerals import counted

if TYPE_CHECKING:
    from wordorder.text.encodings import Decoding

# UTF-32's little-endian mark begins as UTF-16's does.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# How files that are often taken for text begin, and what to do with them.
KINDS = {
    b"\x1f\x8b\x08": "is a gzip file: let its name end in .gz",
    b"PK\x03\x04": "is a zip archive (.docx, .xlsx, .epub and .odt are too): give the text in it",
    b"%PDF-": "is a PDF: take the text out of it first, as pdftotext does",
    b"BZh9": "is compressed with bzip2: unpack it with bunzip2",
    b"\xfd7zXZ\0": "is compressed with xz: unpack it with unxz",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd: unpack it with unzstd",
    b"PAR1": "is a Parquet file: let its name end in .parquet",
}
OPEN_PIPES = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")  # a shell's <(command), or what is piped
MOST_SHOWN = 40  # characters of a text in a message
FEW = 3  # bytes: strays, however short the text
CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f"))


def read_text(name: str | Path, missing: str = "") -> str:
    """Return the text of a file, plain or .gz.

    Args:
        missing: the message where there is no such file, if not a plain one.

    Raises:
        BadInput: a file that cannot be read, or that is no text.
    """
    path = user_path(name)
    return decode(read_bytes(path, missing), printable(path), path=path)


def read_bytes(path: Path, missing: str = "") -> bytes:
    """Return what a regular file holds, unpacked where its name ends in .gz.

    Raises:
        BadInput: a file that cannot be read, and why.
    """
    source = printable(path)
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise BadInput(f"{source} is a folder, not a file")
        open_pipe = stat.S_ISFIFO(kind) and str(path).startswith(OPEN_PIPES)
        if not stat.S_ISREG(kind) and not open_pipe:
            # A pipe that has a name waits for whoever writes to it; a device may never end.
            raise BadInput(
                f"{source} is a pipe or a device, not a file: write its text into a file first"
            )
        data = path.read_bytes()
        return gzip.decompress(data) if _packed(path) else data
    except BadInput:  # is a ValueError
        raise
    except FileNotFoundError:
        raise BadInput(missing or f"no such file: {source}") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise not_whole_gzip(source, error) from None
    except OSError as error:
        raise BadInput(f"{source} cannot be read ({error.strerror}): {_advice(error)}") from None
    except ValueError as error:  # a null byte in the name
        raise BadInput(f"{source!r} is no name of a file: {error}") from None


def not_whole_gzip(source: str, error: Exception) -> BadInput:
    """Return what to raise where a .gz file ends too early or is none."""
    return BadInput(f"{source} is not a whole gzip file ({error}): fetch or compress it again")


def decode(data: bytes, source: str, *, path: Path | None = None) -> str:
    """Return bytes as text, without a byte order mark and with \\n at the ends of lines.

    Args:
        source: what messages call it.
        path: where the bytes are, for the commands in messages; None: they come from a pipe.

    Raises:
        BadInput: what is no text, and what it may be instead.
    """
    for mark, name in MARKS.items():
        if data.startswith(mark):
            return _marked(data, name, source, path)
    zero = data.find(b"\0")
    if zero >= 0:
        raise BadInput(_binary(data, zero, source, path))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The signature's own decoder counts from behind the mark.
        offset = error.start + 3 * data.startswith(codecs.BOM_UTF8)
        if _is_cut(data, offset):
            raise BadInput(_cut(offset, source, path)) from None
        raise BadInput(_not_utf8(data, offset, source, path)) from None
    return _with_newlines(text)


def decode_argument(text: str, what: str) -> str:
    """Return text that was typed as an argument, as `decode` would.

    Python hands on what it cannot decode as lone surrogates.

    Args:
        what: what messages call it.

    Raises:
        BadInput: what is not UTF-8, and from which byte on.
    """
    try:
        data = text.encode()
    except UnicodeEncodeError:
        try:
            data = os.fsencode(text)
            data.decode()
        except UnicodeDecodeError as error:
            raise BadInput(_argument(data, error, what)) from None
        except UnicodeEncodeError as error:
            raise BadInput(
                f"{what} holds half a surrogate pair at character {error.start}, which is not "
                "text: leave it out"
            ) from None
    return _with_newlines(data.decode("utf-8-sig"))


def user_path(name: str | Path) -> Path:
    """Return the path of a name that was typed; ~ is the home folder."""
    try:
        return Path(name).expanduser()
    except RuntimeError:  # ~ of a user that there is not: a file of that name
        return Path(name)


def printable(name: str | Path) -> str:
    """Return a file's name as text that every stream and record can hold."""
    text = str(name)
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        pass
    try:
        return os.fsencode(text).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # surrogates that no file system gave
        return text.encode("utf-8", "backslashreplace").decode()


def shown(text: str) -> str:
    """Return the beginning of a text in quotes, as a message shows it."""
    return repr(text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 1] + "…")


def is_blank(text: str) -> bool:
    """Return whether text has nothing to learn from: whitespace, marks of byte order."""
    rest = text.lstrip()
    return not rest or (rest[0] == "\ufeff" and not rest.replace("\ufeff", "").strip())


def _with_newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _packed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _advice(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "check its permissions"
    return "check its name and the disk it is on"


def _marked(data: bytes, name: str, source: str, path: Path | None) -> str:
    try:
        text = data.decode(name)
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{source} opens as {name.upper()} and is not so at byte {error.start}: fetch it again"
        ) from None
    if "\0" in text:
        raise BadInput(_binary(data, data.find(b"\0"), source, path))
    return _with_newlines(text)


def _binary(data: bytes, zero: int, source: str, path: Path | None) -> str:
    from wordorder.text.encodings import wide_encoding

    for begin, what in KINDS.items():
        if data.startswith(begin):
            return f"{source} {what}"
    name = wide_encoding(data)
    if name:
        return f"{source} is {name} without a byte order mark: convert it with {_iconv(path, name)}"
    return f"{source} is a binary file (a zero byte at offset {zero}): give text in UTF-8"


def _is_cut(data: bytes, offset: int) -> bool:
    """Return whether bytes are UTF-8 up to an offset, and a character begins there and ends short.

    The é of Windows-1252 begins one too: where nothing else is beyond ASCII, it may be that.
    """
    from wordorder.text.encodings import readings

    try:
        codecs.getincrementaldecoder("utf-8")().decode(data[offset:])
    except UnicodeDecodeError:
        return False
    others = not data[:offset].removeprefix(codecs.BOM_UTF8).isascii()
    return others or len(data) - offset > 1 or not readings(data, offset)


def _cut(offset: int, source: str, path: Path | None) -> str:
    left = f"head -c {offset}"
    return (
        f"{source} ends in the middle of a character (offset {offset:,}): fetched whole? Fetch it "
        f"again, or leave that character out with {_command(path, left)}"
    )


def _not_utf8(data: bytes, offset: int, source: str, path: Path | None) -> str:
    """Say what bytes without a zero are, if not UTF-8."""
    from wordorder.text.encodings import damage_of, readings

    for begin, what in KINDS.items():
        if data.startswith(begin):
            return f"{source} {what}"
    line = 1 + data.count(b"\n", 0, offset) + _lone_returns(data[:offset])
    damage = damage_of(data)
    found = [] if damage.stray else readings(data, offset)
    if damage.joined and not damage.stray:
        also = f" and {found[0].called}" if found else ""
        return (
            f"{source} is UTF-8{also} in one: line {line} is where they meet or the first that is "
            "not UTF-8; were two files joined? Convert each before they are"
        )
    where = f"byte 0x{data[offset]:02x} at offset {offset} (line {line})"
    if found:
        how = "; ".join(_shown(each, path) for each in found)
        return (
            f"{source} is not UTF-8: {where}; convert it by the command that reads it right: {how}"
        )
    if not damage.stray and damage.bad > FEW and damage.bad * 10 > len(data):
        what = (
            "it is a binary file"
            if _controls(data) * 50 > len(data)
            else "it reads as no language in any encoding tried"
        )
        return f"{source} is not UTF-8: {where}; {what}: give text in UTF-8"
    bad = f"{damage.bad:,} bytes" if damage.bad > 1 else "1 byte"
    verb, them = ("are", "them") if damage.bad > 1 else ("is", "it")
    return (
        f"{bad} of {len(data):,} in {source} {verb} not UTF-8, the first at offset {offset} "
        f"(line {line}): remove {them} with {_iconv(path, 'utf-8', leave_out=True)}"
    )


def _shown(reading: Decoding, path: Path | None) -> str:
    errors = f" but for {counted(reading.errors, 'character')}" if reading.errors else ""
    command = _iconv(path, reading.name, leave_out=reading.errors > 0)
    return f"as {reading.called} it reads {reading.line!r}{errors}: {command}"


def _controls(data: bytes) -> int:
    return len(data) - len(data.translate(None, CONTROLS))


def _lone_returns(data: bytes) -> int:
    return data.count(b"\r") - data.count(b"\r\n")


def _argument(data: bytes, error: UnicodeDecodeError, what: str) -> str:
    from wordorder.text.encodings import readings

    said = f"{what} is not UTF-8 at byte {error.start}"
    if _is_cut(data, error.start):
        return f"{said}: it ends in the middle of a character; leave that out"
    found = readings(data, error.start)
    if found:
        return (
            f"{said}: as {found[0].called} it reads {found[0].line!r}; let the terminal write "
            f"UTF-8, or pass it through iconv -f {found[0].name} -t utf-8"
        )
    return f"{said}: let the terminal write UTF-8"


def _iconv(path: Path | None, name: str, *, leave_out: bool = False) -> str:
    return _command(path, f"iconv -f {name} -t utf-8{' -c' if leave_out else ''}")


def _command(path: Path | None, command: str) -> str:
    """Return a command line that passes a file through a command into another file."""
    if path is None:
        return f"{command}, in the pipe before it"
    name = path.name[: -len(".gz")] if _packed(path) else path.name
    stem, suffix = os.path.splitext(name)
    before, after = map(_quoted, (path, path.with_name(f"{stem}-utf-8{suffix}")))
    if _packed(path):
        return f"gunzip -c {before} | {command} > {after}"
    return f"{command} {before} > {after}"


def _quoted(path: Path) -> str:
    """Return a path as a shell reads it; one that is no text as bash and zsh do."""
    name = printable(path)
    if name == str(path):
        return shlex.quote(name)
    return "$'" + name.replace("'", "\\'") + "'"
