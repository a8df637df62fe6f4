"""Vectors of a file, turned into arrays once and mapped into memory from then on.

Reading 400,000 lines of text takes most of a minute, mapping the same numbers no time at all. A
file's entry is found by its path and is good for as long as the file's size and time of change
are what they were, so that a changed file takes the place of its own entry. It is written beside
and renamed into place. Where the cache cannot be written, vectors stay in memory.

    matrix.npy  norms.npy  names.json  file.json
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
from wordorder.text.store import cache_folder
from wordorder.text.user_text import printable, user_path
from wordorder.words.formats import Block, read_blocks
from wordorder.words.vectors import Floats, Vectors, lengths

# Part of every entry's name: raised when what is stored for the same file changes.
LAYOUT = 1


def open_vectors(path: str | Path, progress: Callable[[float], Any] = lambda _: None) -> Vectors:
    """Return the vectors of a file, from the cache where it has been read before.

    Args:
        path: word2vec's text or binary form, or GloVe's; also as .gz.
        progress: called with the share that has been read, where the file must be read.

    Raises:
        BadInput: no such file, or one that cannot be read (where in it).
    """
    path = user_path(path)
    if not path.is_file():
        what = "not a file of vectors" if path.exists() else "no such file of vectors"
        raise BadInput(f"{what}: {printable(path)}")
    entry, state = _folder(path), _state(path)
    found = _opened(entry, path, state)
    if found is not None:
        return found
    blocks = list(read_blocks(path, progress))
    # No room or no right to write: it goes on without a cache.
    with contextlib.suppress(OSError):
        _write(entry, state, blocks)
    found = _opened(entry, path, state)
    return found if found is not None else _in_memory(path, blocks)


def _folder(path: Path) -> Path:
    name = os.fsencode(f"{LAYOUT} {path.resolve()}")
    key = hashlib.blake2b(name, digest_size=16).hexdigest()
    return cache_folder().with_name("vectors") / key


def _state(path: Path) -> dict[str, Any]:
    about = path.stat()
    return {"path": str(path.resolve()), "size": about.st_size, "changed_ns": about.st_mtime_ns}


def _write(entry: Path, state: dict[str, Any], blocks: list[Block]) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    reclaim(entry.parent)
    # What is there now is of the file as it was, or another process has just made the same.
    with replacing_folder(entry) as beside:
        names = _names(blocks)
        with (beside / "matrix.npy").open("wb") as file:  # block after block: it is there once
            shape = len(names), blocks[0].rows.shape[1]
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for block in blocks:
                file.write(block.rows.astype("<f4", copy=False).data)
        np.save(beside / "norms.npy", _norms(blocks), allow_pickle=False)
        (beside / "names.json").write_text(json.dumps(names), encoding="utf-8")
        (beside / "file.json").write_text(json.dumps(state), encoding="utf-8")


def _opened(entry: Path, path: Path, state: dict[str, Any]) -> Vectors | None:
    """The vectors of an entry; None where it is missing, damaged, or of the file as it was."""
    try:
        if json.loads((entry / "file.json").read_text(encoding="utf-8")) != state:
            return None
        names = json.loads((entry / "names.json").read_text(encoding="utf-8"))
        matrix = np.load(entry / "matrix.npy", mmap_mode="r", allow_pickle=False)
        norms = np.load(entry / "norms.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    whole = matrix.ndim == 2 and matrix.dtype == np.float32 and norms.dtype == np.float32
    if not whole or not len(matrix) == len(norms) == len(names):
        return None
    return Vectors(printable(path.name), names, matrix, norms)


def _in_memory(path: Path, blocks: list[Block]) -> Vectors:
    matrix = np.concatenate([block.rows for block in blocks])
    return Vectors(printable(path.name), _names(blocks), matrix, _norms(blocks))


def _names(blocks: list[Block]) -> list[str]:
    return [word for block in blocks for word in block.words]


def _norms(blocks: list[Block]) -> Floats:
    return np.concatenate([lengths(block.rows) for block in blocks])
