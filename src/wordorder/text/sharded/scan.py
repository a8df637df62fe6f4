"""Reads a text once, document by document, into chunks on disk.

From then on the text is not read again: its files may change, and several processes can work. After
a kill, what is in finished chunks is not read again from a dataset of the hub.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from wordorder.atomic import write_text
from wordorder.errors import BadInput
from wordorder.numerals import counted
from wordorder.text.corpus import BUILT_IN, HUB_PREFIX, ContentDigest, Corpus, Document
from wordorder.text.files import documents_of_path, stamps_of
from wordorder.text.hub import DatasetStream
from wordorder.text.large_files import LONGEST_DOCUMENT, cut_long
from wordorder.text.load import (
    MOST_STREAMED,
    byte_count,
    chats_and_text,
    joined_names,
    option_notes,
)
from wordorder.text.sharded.spool import Chunk, SpooledDocuments, write_chunk
from wordorder.text.user_text import printable

SCAN = "scan.json"


class Scan(NamedTuple):
    """A text in chunks.

    Args:
        chunks: its documents.
        facts: `name`, `documents`, `characters`, `bytes`, `content_hash`, `sources` and `notes`.
    """

    chunks: tuple[Chunk, ...]
    facts: dict[str, Any]

    @property
    def corpus(self) -> Corpus:
        """The documents, read from disk each time."""
        return Corpus(self.facts["name"], SpooledDocuments(self.chunks))


def scan(
    folder: Path,
    names: Sequence[str],
    field: str,
    most_bytes: str | None,
    chunk_bytes: int,
    progress: Callable[[int], None],
) -> Scan:
    """Read a text into chunks, or go on where a killed process ended.

    Args:
        folder: for the chunks.
        most_bytes: of each `hf:` dataset; None: all of it.
        chunk_bytes: begin a new chunk after so many bytes.
        progress: called with the number of bytes read.

    Raises:
        BadInput: a file cannot be read.
        OSError: a chunk cannot be written.
    """
    if (folder / SCAN).exists():
        facts = json.loads((folder / SCAN).read_text())
        return Scan(tuple(_chunks(folder, facts["chunks"])), facts)
    scanner = _Scanner(folder, chunk_bytes, progress)
    scanner.replay()
    notes: list[str] = []
    has_table = False
    for number, name in enumerate(names):
        counts = scanner.source(number, printable(name), stamps_of(name))
        source = _Source(name, field, most_bytes, counts)
        for document in source:
            scanner.add(number, document, source.rows)
        notes += source.notes
        has_table = has_table or source.is_table
    scanner.close_chunk()
    notes += option_notes(names, field, most_bytes or MOST_STREAMED, has_table)
    facts = {"name": joined_names(list(map(printable, names))), **scanner.facts(notes)}
    write_text(folder / SCAN, json.dumps(facts))
    return Scan(tuple(_chunks(folder, facts["chunks"])), facts)


def _chunks(folder: Path, sizes: Sequence[int]) -> Iterator[Chunk]:
    first = 0
    for number, size in enumerate(sizes):
        yield Chunk(_chunk_path(folder, number), first, size)
        first += size


def _chunk_path(folder: Path, number: int) -> Path:
    return folder / f"documents-{number:05}.jsonl"


class _Source:
    """One name of data, whose first documents may have been read before."""

    def __init__(
        self, name: str, field: str, most_bytes: str | None, before: dict[str, Any]
    ) -> None:
        self.stream: DatasetStream | None = None
        self.notes: list[str] = []
        self.is_table = True
        self._documents: Iterator[Document]
        if name.startswith(HUB_PREFIX):
            rows, empty = before["rows"] or (0, 0)
            self.stream = DatasetStream(
                name.removeprefix(HUB_PREFIX),
                field,
                None if most_bytes is None else byte_count(most_bytes),
                rows=rows,
                empty=empty,
                documents=before["read"],
                size=before["bytes"],
            )
            self._documents = iter(self.stream)
            return
        if name == BUILT_IN:
            from wordorder.text.python_docs import read_python_docs

            documents: Iterator[Document] = iter(read_python_docs())
            self.is_table = False
        else:
            documents, self.is_table = documents_of_path(name, field, self.notes, streamed=True)
        self._documents = islice(documents, before["read"], None)

    def __iter__(self) -> Iterator[Document]:
        yield from self._documents
        if self.stream is not None:
            self.notes += self.stream.notes

    @property
    def rows(self) -> tuple[int, int] | None:
        """The rows of a dataset that were read, and how many of them had no text."""
        column = None if self.stream is None else self.stream.column
        return None if column is None else (column.rows, column.empty)


class _Scanner:
    """Writes documents into chunks, and counts them."""

    def __init__(self, folder: Path, chunk_bytes: int, progress: Callable[[int], None]) -> None:
        self.folder, self.chunk_bytes, self.progress = folder, chunk_bytes, progress
        self.digest = ContentDigest()
        self.digests: list[ContentDigest] = []
        self.sources: list[dict[str, Any]] = []
        self.chunks: list[int] = []
        self.documents: list[Document] = []
        self.owners: list[int] = []  # the source of each of them
        self.size = self.bytes = self.characters = 0
        self.cut = [0, 0]  # documents that were too long, and what they became
        self.first: Document | None = None

    def source(self, number: int, name: str, written: list[list[Any]] | None) -> dict[str, Any]:
        """Return the counts of a source, and begin it if it is new.

        Args:
            written: as `stamps_of` has it; None: unknown, as in stores of older versions.

        Raises:
            BadInput: its first documents were read before, and it has changed.
        """
        if number == len(self.sources):
            counts = {"documents": 0, "bytes": 0, "read": 0, "rows": None}
            self.sources.append({"name": name, "written": written, **counts})
            self.digests.append(ContentDigest())
        elif self.sources[number]["written"] not in (None, written):
            store = self.folder.parent
            raise BadInput(
                f"{name} has changed since {store} was begun: restore it, or remove {store} to "
                "begin again",
                code="text.store-text-changed",
            )
        return self.sources[number]

    def replay(self) -> None:
        """Count the documents of the chunks that an earlier process has finished."""
        while (record := _chunk_path(self.folder, len(self.chunks)).with_suffix(".json")).exists():
            facts = json.loads(record.read_text())
            chunk = Chunk(record.with_suffix(".jsonl"), 0, facts["documents"])
            for document, owner in zip(chunk, facts["owners"], strict=True):
                before = facts["sources"][owner]
                self.source(owner, before["name"], before.get("written"))
                self._count(owner, document)
            for counts, recorded in zip(self.sources, facts["sources"], strict=False):
                counts.update(read=recorded["read"], rows=recorded["rows"])
            self.cut = facts["cut"]
            self.chunks.append(facts["documents"])
            self.progress(self.bytes)

    def add(self, owner: int, document: Document, rows: tuple[int, int] | None) -> None:
        """Add the next document of a source, in pieces if it is very long."""
        pieces = [document]
        if not document.turns and len(document.text) > 2 * LONGEST_DOCUMENT:
            pieces = [document._replace(text=text) for text in cut_long(document.text)]
            self.cut = [self.cut[0] + 1, self.cut[1] + len(pieces)]
        for piece in pieces:
            self._count(owner, piece)
            self.documents.append(piece)
            self.owners.append(owner)
            self.size += len(piece.text.encode())
        self.sources[owner]["read"] += 1
        self.sources[owner]["rows"] = rows
        if self.size >= self.chunk_bytes:
            self.close_chunk()

    def close_chunk(self) -> None:
        """Write the chunk, then its record, which marks it as finished."""
        if not self.documents:
            return
        path = _chunk_path(self.folder, len(self.chunks))
        write_chunk(path, self.documents)
        record = {
            "documents": len(self.documents),
            "owners": self.owners,
            "sources": self.sources,
            "cut": self.cut,
        }
        write_text(path.with_suffix(".json"), json.dumps(record))
        self.chunks.append(len(self.documents))
        self.documents, self.owners, self.size = [], [], 0
        self.progress(self.bytes)

    def facts(self, notes: list[str]) -> dict[str, Any]:
        """Return the description of the text."""
        if self.cut[0]:
            notes = [
                *notes,
                f"{counted(self.cut[0], 'document')} of more than {2 * LONGEST_DOCUMENT:,} "
                f"characters {'was' if self.cut[0] == 1 else 'were'} cut into {self.cut[1]:,}, at "
                "the ends of lines",
            ]
        return {
            "documents": sum(self.chunks),
            "characters": self.characters,
            "bytes": self.bytes,
            "content_hash": self.digest.hexadecimal,
            "sources": [
                {
                    "name": source["name"],
                    "documents": source["documents"],
                    "bytes": source["bytes"],
                    "content_hash": digest.hexadecimal,
                }
                for source, digest in zip(self.sources, self.digests, strict=True)
            ],
            "notes": notes,
            "chunks": self.chunks,
        }

    def _count(self, owner: int, document: Document) -> None:
        self.first = self.first or document
        if bool(self.first.turns) != bool(document.turns):
            one, other = (self.first, document) if self.first.turns else (document, self.first)
            raise chats_and_text(one, other)
        size = len(document.text.encode())
        self.bytes += size
        self.characters += len(document.text)
        self.digest.add(document)
        self.digests[owner].add(document)
        self.sources[owner]["documents"] += 1
        self.sources[owner]["bytes"] += size
