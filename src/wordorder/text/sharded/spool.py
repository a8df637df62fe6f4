"""Documents on disk, in chunks that several processes can read: one JSON array on each line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np

from wordorder.atomic import replacing
from wordorder.text.corpus import Document, Turn


@dataclass(frozen=True)
class Chunk:
    """Consecutive documents of a text.

    Args:
        path: the file that holds them.
        first: the index of the first document in the whole text.
        documents: their number.
    """

    path: Path
    first: int
    documents: int

    @property
    def keys(self) -> Path:
        """The file with the keys of the documents, by which they are assigned to parts."""
        return self.path.with_suffix(".keys.npy")

    @property
    def parts(self) -> Path:
        """The file with the number of each document's part."""
        return self.path.with_suffix(".parts.npy")

    def __iter__(self) -> Iterator[Document]:
        with self.path.open("rb") as lines:
            for line in lines:
                text, source, *turns = json.loads(line)
                yield Document(text, source, tuple(Turn(*turn) for turn in turns))


def write_chunk(path: Path, documents: Iterable[Document]) -> None:
    """Write documents into the file of a chunk.

    Raises:
        OSError: the file cannot be written.
    """
    with replacing(path) as beside, beside.open("wb") as file:
        for document in documents:
            values = [document.text, document.source, *document.turns]
            file.write(json.dumps(values, ensure_ascii=False).encode() + b"\n")


class SpooledDocuments(Sequence[Document]):
    """The documents of chunks, read from disk each time.

    Args:
        chunks: the chunks.
        part: the number of a part, to leave out the documents of others; None: all documents.
    """

    def __init__(self, chunks: Sequence[Chunk], part: int | None = None) -> None:
        self.chunks, self.part = chunks, part

    def __len__(self) -> int:
        if self.part is None:
            return sum(chunk.documents for chunk in self.chunks)
        return sum(int((np.load(chunk.parts) == self.part).sum()) for chunk in self.chunks)

    def __iter__(self) -> Iterator[Document]:
        for chunk in self.chunks:
            if self.part is None:
                yield from chunk
                continue
            parts = np.load(chunk.parts)
            pairs = zip(chunk, parts, strict=True)
            yield from (document for document, part in pairs if part == self.part)

    @overload
    def __getitem__(self, index: int) -> Document: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Document]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return tuple(islice(self, *index.indices(len(self))))
        return next(islice(self, index, None))
