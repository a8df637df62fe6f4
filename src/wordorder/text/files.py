"""Reads files and folders into documents; errors name the file and the line.

The suffix determines the format, never the content, so a file is not read differently when its
first line changes. A named file is always read: an unknown suffix as plain text, with a note. In a
folder only files with a known suffix are read, and .csv, .tsv, .json and .ndjson files only if they
have the text column: a folder of books may also hold a table of their titles.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from wordorder.errors import BadInput
from wordorder.text.chats import documents_of
from wordorder.text.corpus import BUILT_IN, END_OF_TEXT, HUB_PREFIX, Document
from wordorder.text.rows import (
    Column,
    TableRow,
    rows_of_csv,
    rows_of_json,
    rows_of_jsonl,
    rows_of_parquet,
)
from wordorder.text.user_text import decode, is_blank, printable, read_bytes, user_path

# Form feeds separate the books of a collection, <|endoftext|> the stories of TinyStories.
SEPARATOR = re.compile("\f|" + re.escape(END_OF_TEXT))


class Source(NamedTuple):
    """The bytes of a file, its printable name for messages, and its path."""

    data: bytes
    name: str
    path: Path

    def text(self) -> str:
        """Return the file's text, decoded from UTF-8."""
        return decode(self.data, self.name, path=self.path)


def read_path(name: str, field: str) -> tuple[tuple[Document, ...], tuple[str, ...], bool]:
    """Read a file, or every file of a folder that has a known suffix.

    Args:
        field: the column that holds the text, for tables.

    Returns:
        The documents, notes, and whether any file was a table.

    Raises:
        BadInput: a file cannot be read, or there is no text.
    """
    path = user_path(name)
    try:
        if name and path.is_dir():
            return _read_folder(path, field)
    except OSError:  # name too long, or no permission: read_bytes raises the error with its reason
        pass
    documents, notes = _read_file(path, field, missing=_missing(name))
    suffix = _format(path)
    if suffix and suffix not in (*TEXTS, *TABLES):
        notes = (
            *notes,
            f"{printable(path)} is read as plain text, because {suffix} is not a known format",
        )
    if not documents:
        reason = f" ({notes[0]})" if notes else ""
        raise BadInput(
            f"{printable(path)} is empty: it contains no text to train on{reason}",
            code="text.empty-file",
        )
    return documents, notes, suffix in TABLES


def _missing(name: str) -> str:
    """Return the message for a path that does not exist."""
    allowed = f"give a file, a folder or {BUILT_IN}"
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(name).suffix:
        allowed += f", or write {HUB_PREFIX}{name} for a Hugging Face dataset"
    return f"no such file or folder: {printable(name)}; {allowed}"


def _read_folder(folder: Path, field: str) -> tuple[tuple[Document, ...], tuple[str, ...], bool]:
    inside = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not _hidden(path.relative_to(folder))
    )
    known = [path for path in inside if _format(path) in (*TEXTS, *TABLES)]
    documents: list[Document] = []
    notes: list[str] = []
    without: list[str] = []
    for path in known:
        if _format(path) in OF_A_COLUMN and not _has_column(path, field):
            without.append(path.name)
            continue
        file_documents, file_notes = _read_file(path, field)
        documents += file_documents
        notes += file_notes
    source, total = printable(folder), len(inside)
    if skipped := total - len(known):
        notes.insert(
            0, f"{skipped} of {total} files in {source} have another suffix and were skipped"
        )
    if without:
        notes.append(
            f"skipped {len(without)} of {total} files in {source} without a readable column "
            f"{field!r} ({printable(without[0])}{', ...' if len(without) > 1 else ''}): name the "
            "column with --field"
        )
    if not documents:
        reason = f"; {notes[-1]}" if without else ""
        raise BadInput(
            f"{source} contains no text: {len(known)} of {total} files end in "
            f"{', '.join((*TEXTS, *TABLES))} (also .gz), and none of them contains text{reason}",
            code="text.empty-folder",
        )
    return tuple(documents), tuple(notes), any(_format(path) in TABLES for path in known)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _format(path: Path) -> str:
    """Return the suffix that determines the format, without `.gz`."""
    name = path.name.lower().removesuffix(".gz")
    return printable(Path(name).suffix)


def _read_file(
    path: Path, field: str, missing: str = ""
) -> tuple[tuple[Document, ...], tuple[str, ...]]:
    source = Source(read_bytes(path, missing), printable(path), path)
    suffix = _format(path)
    if suffix in TABLES:
        noun = "field" if "json" in suffix else "column"
        column = Column(field, source.name, noun)
        return tuple(documents_of(TABLES[suffix](source, field), column)), column.notes
    documents = TEXTS.get(suffix, _split_text)(source)
    return tuple(document for document in documents if not is_blank(document.text)), ()


def _has_column(path: Path, field: str) -> bool:
    """Return whether the first row of a table has a column."""
    source = Source(read_bytes(path), printable(path), path)
    try:
        first = next(TABLES[_format(path)](source, field), None)
    except BadInput:
        return False
    return first is not None and isinstance(first.values, dict) and field in first.values


def _whole_text(source: Source) -> Iterator[Document]:
    yield Document(source.text(), source.name)


def _split_text(source: Source) -> Iterator[Document]:
    text = source.text()
    if not SEPARATOR.search(text):
        # Not stripped: benchmarks such as enwik8 state exact character counts.
        yield Document(text, source.name)
        return
    for number, part in enumerate(SEPARATOR.split(text), start=1):
        yield Document(part.strip(), f"{source.name}, document {number}")


def _jsonl(source: Source, field: str) -> Iterator[TableRow]:
    return rows_of_jsonl(source.text(), source.name)


def _json(source: Source, field: str) -> Iterator[TableRow]:
    return rows_of_json(source.text(), source.name, field)


def _csv(source: Source, field: str) -> Iterator[TableRow]:
    return rows_of_csv(source.text(), source.name, ",")


def _tsv(source: Source, field: str) -> Iterator[TableRow]:
    return rows_of_csv(source.text(), source.name, "\t")


def _parquet(source: Source, field: str) -> Iterator[TableRow]:
    return rows_of_parquet(source.data, source.name, field)


TEXTS: dict[str, Callable[[Source], Iterator[Document]]] = {
    ".txt": _split_text,
    ".md": _whole_text,
    ".py": _whole_text,
}
TABLES: dict[str, Callable[[Source, str], Iterator[TableRow]]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _tsv,
    ".parquet": _parquet,
}
# In a folder, files of these formats are read only if they have the column.
OF_A_COLUMN = (".ndjson", ".json", ".csv", ".tsv")
