"""Vectors of a file as gensim's `KeyedVectors`: saved once, mapped into memory from then on.

Reading 400,000 lines of text takes some seconds, mapping the same numbers a tenth of one. A
file's entry is found by its path and is valid while the file's size and modification time stay
what they were, so that a changed file replaces its own entry. An entry is written beside and
renamed into place. Where the cache cannot be written, vectors stay in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wordorder.atomic import reclaim, replacing_folder
from wordorder.errors import BadInput
from wordorder.text.store import cache_folder
from wordorder.text.user_text import printable, user_path
from wordorder.words.formats import read
from wordorder.words.vectors import Vectors, gensim_models

SAVED = "keyed"  # the file of an entry; gensim puts the matrix beside it


def open_vectors(path: str | Path, progress: Callable[[float], Any] = lambda _: None) -> Vectors:
    """Return the vectors of a file, from the cache if it has been read before.

    Args:
        path: word2vec's text or binary form, or GloVe's; also as .gz.
        progress: called with the share that has been read, if the file is read.

    Raises:
        BadInput: there is no such file, it cannot be read (where in it), or gensim is missing.
    """
    path = user_path(path)
    if not path.is_file():
        what = "not a file of vectors" if path.exists() else "no such file of vectors"
        raise BadInput(f"{what}: {printable(path)}")
    kind, name = gensim_models("files of word vectors").KeyedVectors, printable(path.name)
    about, entry = path.stat(), _entry(path)
    state = (str(path.resolve()), about.st_size, about.st_mtime_ns)
    keyed = _cached(kind, entry, state)
    if keyed is None:
        keyed = Vectors.of(name, *read(path, progress)).keyed()
        keyed.file, keyed.lifecycle_events = state, None  # no log of when it was saved, and where
        # No room or no permission to write: continue without a cache.
        with contextlib.suppress(OSError):
            entry.parent.mkdir(parents=True, exist_ok=True)
            reclaim(entry.parent)
            with replacing_folder(entry) as beside:
                keyed.save(str((beside / SAVED).absolute()), separately=["vectors"])
        keyed = _cached(kind, entry, state) or keyed
    return Vectors.of_keyed(name, keyed)


def _entry(path: Path) -> Path:
    name = os.fsencode(f"1 {path.resolve()}")
    key = hashlib.blake2b(name, digest_size=16).hexdigest()
    return cache_folder().with_name("vectors") / key


def _cached(kind: Any, entry: Path, state: tuple[str, int, int]) -> Any:
    """The vectors of an entry; None if it is missing, damaged, or of the file as it was."""
    if not entry.is_dir():
        return None
    try:
        keyed = kind.load(str((entry / SAVED).absolute()), mmap="r")
        whole = keyed.vectors.shape == (len(keyed.norms), keyed.vector_size)
        return keyed if keyed.file == state and whole else None
    except Exception:  # a damaged pickle raises anything
        return None
