"""Reading one's own files into documents, and saying exactly where one cannot be read.

Formats are told by suffix, never guessed from content: what a file is read as must not change when
its first line does. A path that is named is always read (an unknown suffix as plain text, with a
note); in a folder only the known suffixes are, and of .csv, .tsv, .json and .ndjson those that have
the column: a folder of books may have a table of them beside.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from wordorder.errors import BadInput
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

# Form feeds part the books of a collection, the second the stories of TinyStories.
SEPARATOR = re.compile("\f|" + re.escape(END_OF_TEXT))


class Source(NamedTuple):
    """What a file holds, and what it is called."""

    data: bytes
    name: str
    path: Path

    def text(self) -> str:
        return decode(self.data, self.name, path=self.path)


def read_path(name: str, field: str) -> tuple[tuple[Document, ...], tuple[str, ...], bool]:
    """Read a file, or every known file of a folder.

    Returns:
        Documents, notes, and whether a table was among the files.

    Raises:
        BadInput: naming the file and the place in it.
    """
    path = user_path(name)
    try:
        if name and path.is_dir():
            return _read_folder(path, field)
    except OSError:  # a name too long, a folder that may not be entered: read_bytes says it
        pass
    documents, notes = _read_file(path, field, missing=_missing(name))
    suffix = _format(path)
    if suffix and suffix not in (*TEXTS, *TABLES):
        notes = (
            *notes,
            f"{printable(path)} is read as plain text: {suffix} is no table that is known",
        )
    if not documents:
        raise BadInput(_empty(printable(path), field, notes))
    return documents, notes, suffix in TABLES


def _empty(source: str, field: str, notes: tuple[str, ...]) -> str:
    why = f" ({notes[0]})" if notes else ""
    return f"{source} is empty: it holds no text to learn from{why}"


def _missing(name: str) -> str:
    known = f"give a file, a folder or {BUILT_IN}"
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(name).suffix:
        known += f", or write {HUB_PREFIX}{name} for a Hugging Face dataset"
    return f"no such file or folder: {printable(name)}; {known}"


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
        found, said = _read_file(path, field)
        documents += found
        notes += said
    source, of = printable(folder), len(inside)
    if passed_over := of - len(known):
        notes.insert(
            0, f"left out, as their suffix is another: {passed_over} of {of} files in {source}"
        )
    if without:
        notes.append(
            f"left out, without a column {field!r} that can be read: {len(without)} of {of} files "
            f"in {source} ({printable(without[0])}{', ...' if len(without) > 1 else ''}): name one "
            "with --field"
        )
    if not documents:
        raise BadInput(
            f"{source} holds no text: of {of} files {len(known)} end in "
            f"{', '.join((*TEXTS, *TABLES))} (also .gz) and none of these has text in it"
            + "".join(f"; {note}" for note in notes[-1:] if without)
        )
    return tuple(documents), tuple(notes), any(_format(path) in TABLES for path in known)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _format(path: Path) -> str:
    """The suffix that decides the reader, without `.gz`."""
    name = path.name.lower().removesuffix(".gz")
    return printable(Path(name).suffix)


def _read_file(
    path: Path, field: str, missing: str = ""
) -> tuple[tuple[Document, ...], tuple[str, ...]]:
    source = Source(read_bytes(path, missing), printable(path), path)
    suffix = _format(path)
    if suffix in TABLES:
        called = "field" if "json" in suffix else "column"
        column = Column(field, source.name, called)
        return tuple(column.documents(TABLES[suffix](source, field))), column.notes
    documents = TEXTS.get(suffix, _split_text)(source)
    return tuple(document for document in documents if not is_blank(document.text)), ()


def _has_column(path: Path, field: str) -> bool:
    """Return whether a table has a column, as far as its first row tells."""
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
        # Unchanged to the last newline: a benchmark's character count must come out.
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
# Read in a folder only where they have the column.
OF_A_COLUMN = (".ndjson", ".json", ".csv", ".tsv")
