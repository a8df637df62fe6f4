"""Reads files and folders into documents; errors name the file and the line.

The suffix determines the format, never the content, so a file is not read differently when its
first line changes. A named file is always read: an unknown suffix as plain text, with a note. In a
folder only files with a known suffix are read, and .csv, .tsv, .json and .ndjson files only if they
have the text column: a folder of books may also hold a table of their titles. Run folders
are left out: otherwise training would read what wordorder itself has written.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from wordorder.errors import BadInput
from wordorder.folders import is_ours
from wordorder.numerals import first_of
from wordorder.text.chats import documents_of
from wordorder.text.compressed import compression_of, plain_name
from wordorder.text.corpus import BUILT_IN, END_OF_TEXT, HUB_PREFIX, Document
from wordorder.text.large_files import split_blocks, text_blocks, text_lines
from wordorder.text.parquet import rows_of_parquet
from wordorder.text.rows import (
    Column,
    TableRow,
    check_not_array,
    rows_of_csv,
    rows_of_json,
    rows_of_jsonl,
)
from wordorder.text.sharded.folder import is_store, refuse_store
from wordorder.text.user_text import OPEN_PIPES, decode, is_blank, printable, read_bytes, user_path

# Form feeds separate the books of a collection, <|endoftext|> the stories of TinyStories.
SEPARATOR = re.compile("\f|" + re.escape(END_OF_TEXT))


class Source(NamedTuple):
    """A file: its path, its printable name for messages, and its bytes.

    `data` is None for a file that is read block by block.
    """

    data: bytes | None
    name: str
    path: Path

    def whole(self) -> bytes:
        """Return the bytes of the file."""
        return read_bytes(self.path) if self.data is None else self.data

    def text(self) -> str:
        """Return the file's text, decoded from UTF-8."""
        return decode(self.whole(), self.name, path=self.path)

    def lines(self) -> Iterator[str]:
        """Yield the file's lines, without their ends."""
        if self.data is None:
            return text_lines(text_blocks(self.path))
        return iter(self.text().split("\n"))


def read_path(name: str, field: str) -> tuple[tuple[Document, ...], tuple[str, ...], bool]:
    """Read a file, or every file of a folder that has a known suffix.

    Args:
        field: the column that holds the text, for tables.

    Returns:
        The documents, notes, and whether any file was a table.

    Raises:
        BadInput: a file cannot be read, or there is no text.
    """
    notes: list[str] = []
    documents, table = documents_of_path(name, field, notes)
    return tuple(documents), tuple(notes), table


def stamps_of(name: str) -> list[list[Any]]:
    """Return the name, time and size of a file, or of each that is read in a folder.

    For other names, such as those of datasets, it is empty.
    """
    try:
        path = user_path(name)
        files = _inside(path).files if path.is_dir() else [path]
        found = [(each, each.stat()) for each in files]
    except (OSError, ValueError, BadInput):
        return []
    return [[printable(each), of.st_mtime_ns, of.st_size] for each, of in found]


def documents_of_path(
    name: str, field: str, notes: list[str], *, streamed: bool = False
) -> tuple[Iterator[Document], bool]:
    """Return the documents of a file or folder, one by one, and whether any file is a table.

    Args:
        notes: remarks are appended, the last ones after the last document.
        streamed: read text, .jsonl, .ndjson and .parquet block by block; others file by file.

    Raises:
        BadInput: a file cannot be read, or there is no text.
    """
    path = user_path(name)
    try:
        if name and path.is_dir():
            refuse_store(path)
            inside = _inside(path)
            documents = _documents_of_folder(path, inside, field, notes, streamed)
            return documents, any(_format(file) in TABLES for file in inside.files)
    except OSError:  # name too long, or no permission: read_bytes raises the error with its reason
        pass
    documents = _documents_of_file(path, field, notes, streamed, missing=_missing(name))
    return _checked(documents, path, notes), _format(path) in TABLES


def _checked(documents: Iterator[Document], path: Path, notes: list[str]) -> Iterator[Document]:
    """Yield the documents of a file; then note an unknown suffix, or raise if there are none."""
    empty = True
    for document in documents:
        empty = False
        yield document
    suffix = _format(path)
    if suffix and suffix not in (*TEXTS, *TABLES):
        notes.append(
            f"{printable(path)} is read as plain text, because {suffix} is not a known format"
        )
    if empty:
        reason = f" ({notes[0]})" if notes else ""
        raise BadInput(
            f"{printable(path)} is empty: it contains no text{reason}",
            code="text.empty-file",
        )


def _missing(name: str) -> str:
    """Return the message for a path that does not exist."""
    if name.startswith(OPEN_PIPES):
        return f"{printable(name)} was a pipe, which can be read once: write its text into a file"
    allowed = f"give a file, a folder or {BUILT_IN}"
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(name).suffix:
        allowed += f", or write {HUB_PREFIX}{name} for a Hugging Face dataset"
    return f"no such file or folder: {printable(name)}; {allowed}"


class Inside(NamedTuple):
    """What is in a folder, without hidden files and folders, in sorted order.

    Args:
        files: to be read if their suffix is known.
        ours: folders that wordorder wrote, such as a run or a store, which are left out.
        links: links to folders, which are not followed: they may lead back.
        others: dangling links, named pipes, sockets and devices, which are not read.
    """

    files: list[Path]
    ours: list[Path]
    links: list[Path]
    others: list[Path]


def _inside(folder: Path) -> Inside:
    found = Inside([], [], [], [])
    for where, below, names in os.walk(folder, onerror=_cannot_list):
        folders = [Path(where, name) for name in below if not name.startswith(".")]
        below.clear()  # what stays in it is walked next
        for path in folders:
            if stat.S_ISLNK(_mode(path, follow=False)):
                found.links.append(path)
            elif is_ours(path) or is_store(path):
                found.ours.append(path)
            else:
                below.append(path.name)
        for path in (Path(where, name) for name in names if not name.startswith(".")):
            (found.files if stat.S_ISREG(_mode(path)) else found.others).append(path)
    return Inside(*map(sorted, found))


def _mode(path: Path, *, follow: bool = True) -> int:
    """Return the mode of a file; 0 if it does not exist, such as the target of a link.

    Raises:
        BadInput: its folder can be listed and not entered.
    """
    try:
        return path.stat(follow_symlinks=follow).st_mode
    except PermissionError as error:
        _cannot_list(error)
    except OSError:
        pass
    return 0


def _cannot_list(error: OSError) -> None:
    raise BadInput(
        f"cannot read {printable(str(error.filename))} ({error.strerror}): check its permissions, "
        "or take it out of the folder",
        code="text.folder-unreadable",
    ) from None


def _documents_of_folder(
    folder: Path, inside: Inside, field: str, notes: list[str], streamed: bool
) -> Iterator[Document]:
    files, ours, links, others = inside
    known = [path for path in files if _format(path) in (*TEXTS, *TABLES)]
    source, total = printable(folder), len(files)
    if skipped := total - len(known):
        verb = "has another suffix and was" if skipped == 1 else "have another suffix and were"
        notes.append(f"{skipped} of {total} files in {source} {verb} skipped")
    if ours:
        named = first_of([printable(path) for path in ours], 1)
        notes.append(f"left out, because wordorder wrote it: {named}")
    if links:
        named = first_of([printable(path) for path in links], 1)
        notes.append(f"links to folders are not followed: {named}; give such a folder too")
    if others:
        named = first_of([printable(path) for path in others], 1)
        verb = "is not a file and was" if len(others) == 1 else "are not files and were"
        notes.append(f"{named} {verb} skipped: a link without its target, a pipe or a device")
    without: list[str] = []
    blank: list[str] = []
    for path in known:
        if _format(path) in OF_A_COLUMN and not _has_column(path, field, streamed):
            without.append(path.name)
            continue
        is_blank_file = True
        for document in _documents_of_file(path, field, notes, streamed):
            is_blank_file = False
            yield document
        if is_blank_file:
            blank.append(printable(path))
    empty = len(blank) + len(without) == len(known)
    if blank and not empty:
        verb = "it has" if len(blank) == 1 else "they have"
        notes.append(f"left out, because {verb} no text: {first_of(blank, 1)}")
    if without:
        notes.append(
            f"skipped {len(without)} of {total} files in {source} without a readable column "
            f"{field!r} ({printable(without[0])}{', ...' if len(without) > 1 else ''}): name the "
            "column with --field, or give a file of conversations by itself"
        )
    if empty:
        reason = f"; {notes[-1]}" if without or others else ""
        raise BadInput(
            f"{source} contains no text: {len(known)} of {total} files end in "
            f"{', '.join((*TEXTS, *TABLES))} (also compressed), and none of them contains "
            f"text{reason}",
            code="text.empty-folder",
        )


def _format(path: Path) -> str:
    """Return the suffix that determines the format, without `.gz` and the like."""
    return printable(Path(plain_name(path).lower()).suffix)


def _source(path: Path, streamed: bool, missing: str = "") -> Source:
    in_blocks = streamed and path.is_file()  # not a pipe
    return Source(None if in_blocks else read_bytes(path, missing), printable(path), path)


def _documents_of_file(
    path: Path, field: str, notes: list[str], streamed: bool, missing: str = ""
) -> Iterator[Document]:
    source = _source(path, streamed, missing)
    suffix = _format(path)
    if suffix in TABLES:
        noun = "field" if "json" in suffix else "column"
        column = Column(field, source.name, noun)
        yield from documents_of(TABLES[suffix](source, field), column)
        notes.extend(column.notes)
        return
    for document in TEXTS.get(suffix, _split_text)(source):
        if not is_blank(document.text):
            yield document


def _has_column(path: Path, field: str, streamed: bool) -> bool:
    """Return whether the first row of a table has a column."""
    source = _source(path, streamed)
    try:
        first = next(TABLES[_format(path)](source, field), None)
    except BadInput:
        return False
    return first is not None and isinstance(first.values, dict) and field in first.values


def _whole_text(source: Source) -> Iterator[Document]:
    yield Document(source.text(), source.name)


def _split_text(source: Source) -> Iterator[Document]:
    if source.data is None:
        parts = split_blocks(text_blocks(source.path), SEPARATOR)
    else:
        whole = SEPARATOR.split(source.text())
        parts = ((part, len(whole) > 1) for part in whole)
    for number, (part, separated) in enumerate(parts, start=1):
        if separated:
            yield Document(part.strip(), f"{source.name}, document {number}")
        else:
            # Not stripped: benchmarks such as enwik8 state exact character counts.
            yield Document(part, source.name)


def _jsonl(source: Source, field: str) -> Iterator[TableRow]:
    if source.data is not None:
        check_not_array(source.text(), source.name)
    return rows_of_jsonl(source.lines(), source.name)


def _json(source: Source, field: str) -> Iterator[TableRow]:
    return rows_of_json(source.text(), source.name, field)


def _csv(source: Source, field: str) -> Iterator[TableRow]:
    return rows_of_csv(source.text(), source.name, ",")


def _tsv(source: Source, field: str) -> Iterator[TableRow]:
    return rows_of_csv(source.text(), source.name, "\t")


def _parquet(source: Source, field: str) -> Iterator[TableRow]:
    in_blocks = source.data is None and compression_of(source.path) is None
    opened = source.path if in_blocks else io.BytesIO(source.whole())
    return rows_of_parquet(opened, source.name, field)


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
