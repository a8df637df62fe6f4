"""Names of files and folders that are made from what a user typed."""

from __future__ import annotations

import re
import zlib

LONGEST = 80  # bytes: file systems allow 255, and a seed and a suffix are added
PLAIN = re.compile(r"[a-z0-9_+=][a-z0-9._+=-]*")
NUMBERED = re.compile(r".*-[0-9a-f]{8}")


def file_name(text: str) -> str:
    """Return the name of a file or folder for a text: another one for every other text.

    A short text of lower-case letters, digits and `. + = - _` is its own name. In any other what a
    name cannot hold becomes `_`, its length is bounded, and a number of the whole text is added,
    so that texts stay apart that differ in what was taken away, or in case, which some file
    systems do not tell apart.
    """
    if len(text) <= LONGEST and PLAIN.fullmatch(text) and not NUMBERED.fullmatch(text):
        return text
    name = re.sub(r"[^\w.+=-]+", "_", text).encode()[:LONGEST].decode(errors="ignore")
    number = zlib.crc32(text.encode("utf-8", "surrogatepass"))
    return f"{name.lstrip('.-') or '_'}-{number:08x}"
