"""File names derived from text that a user typed."""

from __future__ import annotations

import re
import zlib

LONGEST = 80  # bytes: file systems allow 255, and a seed and a suffix are added
PLAIN = re.compile(r"[a-z0-9_+=][a-z0-9._+=-]*")
NUMBERED = re.compile(r".*-[0-9a-f]{8}")


def file_name(text: str) -> str:
    """Return a file name for a text; different texts get different names.

    A short text of lower-case letters, digits and `. + = - _` is its own name. Otherwise
    disallowed characters become `_`, the length is bounded, and a checksum of the whole text is
    added. It keeps texts apart that differ only in the replaced characters, or in case (some file
    systems ignore case).
    """
    if len(text) <= LONGEST and PLAIN.fullmatch(text) and not NUMBERED.fullmatch(text):
        return text
    name = re.sub(r"[^\w.+=-]+", "_", text).encode()[:LONGEST].decode(errors="ignore")
    number = zlib.crc32(text.encode("utf-8", "surrogatepass"))
    return f"{name.lstrip('.-') or '_'}-{number:08x}"
