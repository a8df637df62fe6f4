"""The cache of vector files: a file is parsed once, and memory-mapped from then on.

Parsing 400,000 lines of text takes seconds, opening their cache entry a tenth of one. An entry is
a folder whose name is a hash of the file's path; it is valid while the size and modification time
of the file stay the same:

    matrix.npy   the vectors
    words.json   size and modification time of the file, and its words

Nothing is pickled, so that opening an entry runs no code. If the cache cannot be written, the
vectors stay in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from wordorder.atomic import reclaim, replacing_folder
from wordorder.errors import BadInput
from wordorder.numerals import counted
from wordorder.text.store import cache_folder
from wordorder.text.user_text import printable, user_path
from wordorder.words.formats import read
from wordorder.words.vectors import Floats, Vectors


def open_vectors(path: str | Path, progress: Callable[[float], Any] = lambda _: None) -> Vectors:
    """Return the vectors of a file, from the cache if it has been read before.

    Args:
        path: a file in word2vec's text or binary format or GloVe's, also compressed.
        progress: called with the fraction parsed so far, unless the vectors are cached.

    Raises:
        BadInput: the file does not exist or cannot be parsed; the message names the line.
    """
    path = user_path(path)
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise BadInput(
            f"{printable(path)} {what}: give a run folder or a file of word vectors",
            code="words.no-file-of-vectors",
        )
    key = hashlib.blake2b(os.fsencode(f"1 {path.resolve()}"), digest_size=16).hexdigest()
    entry, about = cache_folder().with_name("vectors") / key, path.stat()
    state = {"size": about.st_size, "changed_ns": about.st_mtime_ns}
    vectors = _cached(entry, state)
    if vectors is None:
        vectors = read(path, progress)
        with contextlib.suppress(OSError):  # no room, or no permission to write
            _write(entry, state, *vectors)
        vectors = _cached(entry, state) or vectors
    return Vectors(printable(path.name), *vectors, absent=_in_another_encoding(vectors[0]))


def _in_another_encoding(names: list[str]) -> Callable[[str], str]:
    """Return a function that explains an absent word by the encoding of the file, or returns ""."""

    def absent(word: str) -> str:
        unread = 0 if word.isascii() else sum("\ufffd" in name for name in names)
        if not unread:
            return ""
        of = f"{unread:,} of {counted(len(names), 'word')}"
        return f" ({of} are not UTF-8: convert the file, as with iconv -f LATIN1 -t UTF-8)"

    return absent


def _write(entry: Path, state: dict[str, int], words: list[str], matrix: Floats) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    reclaim(entry.parent)
    with replacing_folder(entry) as beside:
        np.save(beside / "matrix.npy", matrix, allow_pickle=False)
        text = json.dumps({"file": state, "words": words})
        (beside / "words.json").write_text(text, encoding="utf-8")


def _cached(entry: Path, state: dict[str, int]) -> tuple[list[str], Floats] | None:
    """Words and vectors of an entry; None if it is missing, damaged or outdated."""
    try:
        about = json.loads((entry / "words.json").read_text(encoding="utf-8"))
        matrix = np.load(entry / "matrix.npy", mmap_mode="r", allow_pickle=False)
        words = about["words"]
        whole = matrix.dtype == np.float32 and matrix.ndim == 2 and len(matrix) == len(words)
        return (words, matrix) if whole and about["file"] == state else None
    except (OSError, ValueError, LookupError, TypeError):
        return None
