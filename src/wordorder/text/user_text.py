"""Decodes all text from users: files, pipes and command-line arguments.

Corpora, prompts, sentences, pairs, questions and configurations are all decoded here, so the same
words give the same text whichever program wrote them. The text is UTF-8, or UTF-16 or UTF-32 with a
byte order mark. The mark is removed and line ends become newlines; nothing else changes. To compare
words of different sources, `wordorder.text.words` also composes them (NFC), but a language model is
trained on the text as it is.

Other bytes raise an error that names the fault and, if a shell command repairs it, the command.
"""

from __future__ import annotations

import codecs
import os
import shlex
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from wordorder.control_characters import escaped
from wordorder.errors import BadInput
from wordorder.numerals import counted
from wordorder.text.compressed import (
    COMPRESSIONS,
    compression_of,
    damage_named,
    decompress,
    plain_name,
)

if TYPE_CHECKING:
    from wordorder.text.encodings import Decoding

# UTF-32 comes first: its little-endian mark starts with that of UTF-16.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# The first bytes of files that are often mistaken for text, and the message for each.
KINDS = {
    **{
        each.magic: f"is compressed with {each.name}: rename it to end in {suffix}"
        for suffix, each in COMPRESSIONS.items()
    },
    b"PK\x03\x04": "is a zip archive (as .docx, .xlsx, .epub and .odt are): extract its text first",
    b"%PDF-": "is a PDF: extract its text first, for example with pdftotext",
    b"PAR1": "is a Parquet file: rename it to end in .parquet",
}
OPEN_PIPES = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")  # a shell's <(command), or a pipe
MOST_SHOWN = 40  # characters of a text in a message
FEW = 3  # this many invalid bytes are strays, however short the text
CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f"))


def whole_path(name: str | Path) -> Path:
    """Return the absolute path of a file or folder.

    A link to a file keeps its own name, whose suffix says how to read it: downloads of the Hugging
    Face Hub link to files without one.
    """
    path = Path(name)
    return path.resolve() if path.is_dir() else path.parent.resolve() / path.name


def read_text(name: str | Path, missing: str = "") -> str:
    """Return the text of a file, plain or compressed.

    Args:
        missing: the message if the file does not exist; "" for the default.

    Raises:
        BadInput: the file cannot be read, or is not text.
    """
    path = user_path(name)
    return decode(read_bytes(path, missing), printable(path), path=path)


def read_bytes(path: Path, missing: str = "") -> bytes:
    """Return the contents of a regular file, decompressed if its name ends in .gz or the like.

    Raises:
        BadInput: the file cannot be read.
    """
    source = printable(path)
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise BadInput(f"{source} is a folder: give a file", code="text.is-a-folder")
        open_pipe = stat.S_ISFIFO(kind) and str(path).startswith(OPEN_PIPES)
        if not stat.S_ISREG(kind) and not open_pipe:
            # Reading a named pipe blocks until someone writes to it; a device may never end.
            raise BadInput(
                f"{source} is a pipe or a device: write its text into a file first",
                code="text.not-a-regular-file",
            )
        data = path.read_bytes()
        with damage_named(path, source):
            return decompress(data, path)
    except BadInput:  # is a ValueError
        raise
    except FileNotFoundError:
        raise BadInput(
            missing or f"no such file: {source}: check the path", code="text.no-such-file"
        ) from None
    except OSError as error:
        raise BadInput(
            f"cannot read {source} ({error.strerror}): {_advice(error)}", code="text.cannot-read"
        ) from None
    except ValueError as error:  # a null byte in the name
        raise BadInput(
            f"{source!r} is not a valid file name: {error}", code="text.invalid-file-name"
        ) from None


def decode(data: bytes, source: str, *, path: Path | None = None, is_line: bool = False) -> str:
    """Decode bytes to text, without a byte order mark and with \\n as line ends.

    Args:
        source: name of the source, for messages.
        path: the file, for the commands in messages; None: the bytes are from a pipe.
        is_line: the source names one line, so that messages count none.

    Raises:
        BadInput: the bytes are not text; the message says what they may be.
    """
    for mark, name in MARKS.items():
        if data.startswith(mark):
            return _marked(data, name, source, path)
    zero = data.find(b"\0")
    if zero >= 0:
        raise _binary(data, zero, source, path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # utf-8-sig counts offsets from after the mark.
        offset = error.start + 3 * data.startswith(codecs.BOM_UTF8)
        if _is_cut(data, offset):
            raise _truncated(offset, source, path) from None
        raise _not_utf8(data, offset, source, path, is_line) from None
    return _with_newlines(text)


def decode_argument(text: str, argument: str) -> str:
    """Return the text of a command-line argument, as `decode` would.

    Python passes bytes that it cannot decode as lone surrogates.

    Args:
        argument: name of the argument, for messages.

    Raises:
        BadInput: the argument is not UTF-8.
    """
    try:
        data = text.encode()
    except UnicodeEncodeError:
        try:
            data = os.fsencode(text)
            data.decode()
        except UnicodeDecodeError as error:
            raise _argument_not_utf8(data, error, argument) from None
        except UnicodeEncodeError as error:
            raise BadInput(
                f"{argument} has a lone surrogate at character {error.start}, which is not a "
                "character: remove it",
                code="text.argument-surrogate",
            ) from None
    return _with_newlines(data.decode("utf-8-sig"))


def user_path(name: str | Path) -> Path:
    """Return the path of a typed name, with ~ expanded to the home folder."""
    try:
        return Path(name).expanduser()
    except RuntimeError:  # ~name of an unknown user: a file with that name
        return Path(name)


def named_folder(name: str | Path) -> Path:
    """Return a typed path that ends in the folder's name, even if `.` or `..` was typed.

    Files beside a folder, and things called after it, need that name.
    """
    path = user_path(name)
    return path if path.name not in ("", "..") else Path(os.path.abspath(path))


def printable(name: str | Path) -> str:
    """Return a file name as Unicode text; bytes that are not UTF-8 and controls are escaped."""
    text = escaped(str(name))
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        pass
    try:
        return os.fsencode(text).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # surrogates that are not from a file system
        return text.encode("utf-8", "backslashreplace").decode()


def shown(text: str) -> str:
    """Return the beginning of a text in quotes, for a message."""
    return repr(text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 1] + "…")


def is_blank(text: str) -> bool:
    """Return whether text consists of whitespace and byte order marks only."""
    rest = text.lstrip()
    return not rest or (rest[0] == "\ufeff" and not rest.replace("\ufeff", "").strip())


def _with_newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _advice(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "check its permissions"
    return "check its name and the disk it is on"


def _marked(data: bytes, name: str, source: str, path: Path | None) -> str:
    try:
        text = data.decode(name)
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{source} has the byte order mark of {name.upper()}, but byte {error.start} is not "
            f"{name.upper()}: download it again",
            code="text.damaged-wide-text",
        ) from None
    if "\0" in text:
        raise _binary(data, data.find(b"\0"), source, path)
    return _with_newlines(text)


def _known_kind(data: bytes, source: str) -> BadInput | None:
    """Return the error for a known binary format, or None."""
    for signature, message in KINDS.items():
        if data.startswith(signature):
            return BadInput(f"{source} {message}", code="text.known-binary-format")
    return None


def _binary(data: bytes, zero: int, source: str, path: Path | None) -> BadInput:
    """Return the error for bytes that contain a zero."""
    from wordorder.text.encodings import wide_encoding

    if error := _known_kind(data, source):
        return error
    if name := wide_encoding(data):
        return BadInput(
            f"{source} is {name} without a byte order mark: convert it with {_iconv(path, name)}",
            code="text.no-byte-order-mark",
        )
    return BadInput(
        f"{source} is a binary file (a zero byte at offset {zero}): give text in UTF-8",
        code="text.binary",
    )


def _is_cut(data: bytes, offset: int) -> bool:
    """Return whether the bytes end within a UTF-8 character that starts at an offset.

    The é of Windows-1252 looks like the start of one too. If all other bytes are ASCII, the text
    may be in Windows-1252 instead.
    """
    from wordorder.text.encodings import plausible_decodings

    try:
        codecs.getincrementaldecoder("utf-8")().decode(data[offset:])
    except UnicodeDecodeError:
        return False
    others = not data[:offset].removeprefix(codecs.BOM_UTF8).isascii()
    return others or len(data) - offset > 1 or not plausible_decodings(data, offset)


def _truncated(offset: int, source: str, path: Path | None) -> BadInput:
    """Return the error for text that ends within a character."""
    return BadInput(
        f"{source} ends in the middle of a character (offset {offset:,}): download it again, or "
        f"remove that character with {_command(path, f'head -c {offset}')}",
        code="text.truncated",
    )


def _not_utf8(data: bytes, offset: int, source: str, path: Path | None, is_line: bool) -> BadInput:
    """Return the error for bytes without a zero that are not UTF-8."""
    from wordorder.text.encodings import damage_of, plausible_decodings

    if error := _known_kind(data, source):
        return error
    line = 1 + data.count(b"\n", 0, offset) + _lone_returns(data[:offset])
    in_line = "" if is_line else f" (line {line})"
    damage = damage_of(data)
    decodings = [] if damage.stray else plausible_decodings(data, offset)
    if damage.joined and not damage.stray:
        second = f" and {decodings[0].common_name}" if decodings else ""
        return BadInput(
            f"{source} mixes UTF-8{second}{'' if is_line else f', from about line {line}'}: if two "
            "files were joined, "
            "convert each to UTF-8 first",
            code="text.mixed-encodings",
        )
    where = f"byte 0x{data[offset]:02x} at offset {offset}{in_line}"
    if decodings:
        commands = "; ".join(_conversion(decoding, path) for decoding in decodings)
        return BadInput(
            f"{source} is not UTF-8: {where}; convert it with the command whose text is right: "
            f"{commands}",
            code="text.other-encoding",
        )
    if not damage.stray and damage.bad > FEW and damage.bad * 10 > len(data):
        reason = (
            "it is a binary file" if _controls(data) * 50 > len(data) else "its encoding is unknown"
        )
        return BadInput(
            f"{source} is not UTF-8: {where}; {reason}: give text in UTF-8",
            code="text.unknown-encoding",
        )
    bad = f"{damage.bad:,} bytes" if damage.bad > 1 else "1 byte"
    verb, them = ("are", "them") if damage.bad > 1 else ("is", "it")
    return BadInput(
        f"{bad} of {len(data):,} in {source} {verb} not UTF-8, the first at offset {offset}"
        f"{in_line}: remove {them} with {_iconv(path, 'utf-8', leave_out=True)}",
        code="text.stray-bytes",
    )


def _conversion(decoding: Decoding, path: Path | None) -> str:
    """Return an excerpt of a plausible decoding, and the command that converts the file."""
    errors = f" except {counted(decoding.errors, 'character')}" if decoding.errors else ""
    command = _iconv(path, decoding.name, leave_out=decoding.errors > 0)
    return f"as {decoding.common_name} it is {decoding.line!r}{errors}: {command}"


def _controls(data: bytes) -> int:
    return len(data) - len(data.translate(None, CONTROLS))


def _lone_returns(data: bytes) -> int:
    return data.count(b"\r") - data.count(b"\r\n")


def _argument_not_utf8(data: bytes, error: UnicodeDecodeError, argument: str) -> BadInput:
    """Return the error for a command-line argument that is not UTF-8."""
    from wordorder.text.encodings import plausible_decodings

    remedy = "set the terminal to UTF-8"
    decodings = plausible_decodings(data, error.start)
    if _is_cut(data, error.start):
        remedy = "it ends in the middle of a character, which you can remove"
    elif decodings:
        first = decodings[0]
        remedy = (
            f"as {first.common_name} it is {first.line!r}; set the terminal to UTF-8, or convert "
            f"the text with iconv -f {first.name} -t utf-8"
        )
    return BadInput(
        f"{argument} is not UTF-8 at byte {error.start}: {remedy}", code="text.argument-encoding"
    )


def _iconv(path: Path | None, name: str, *, leave_out: bool = False) -> str:
    return _command(path, f"iconv -f {name} -t utf-8{' -c' if leave_out else ''}")


def _command(path: Path | None, command: str) -> str:
    """Return a shell command that filters a file through a command into another file."""
    if path is None:
        return f"{command}, in the pipe before wordorder"
    stem, suffix = os.path.splitext(plain_name(path))
    before, after = map(_quoted, (path, path.with_name(f"{stem}-utf-8{suffix}")))
    if (compression := compression_of(path)) is not None:
        return f"{compression.unpack} {before} | {command} > {after}"
    return f"{command} {before} > {after}"


def _quoted(path: Path) -> str:
    """Return a path quoted for a shell; if it is not UTF-8, with $'...' of bash and zsh."""
    name = printable(path)
    if name == str(path):
        return shlex.quote(name)
    return "$'" + name.replace("'", "\\'") + "'"
