"""Loads a corpus: the built-in text, files and folders, or Hugging Face datasets."""

from __future__ import annotations

from collections.abc import Sequence

from wordorder.errors import BadInput
from wordorder.patience import notify_if_slow
from wordorder.settings import ByteCount, checked
from wordorder.text.corpus import BUILT_IN, HUB_PREFIX, Corpus, Document
from wordorder.text.user_text import printable

PLAIN_FIELD = "text"  # default column of tables
# A dataset may have terabytes; this much takes the models of this package days to read.
MOST_STREAMED = "200MB"


def load_corpus(
    data: str | Sequence[str] = BUILT_IN,
    *,
    field: str = PLAIN_FIELD,
    most_bytes: str = MOST_STREAMED,
    validation: Sequence[str] = (),
    development: Sequence[str] = (),
) -> Corpus:
    """Load a corpus by name, or from files.

    Examples of names: `python-docs`, `notes.txt`, `books/`, `a.jsonl.gz`,
    `hf:roneneldan/TinyStories`.

    Args:
        data: `python-docs`; a file (.txt, .md, .py, .jsonl, .ndjson, .json, .csv, .tsv, .parquet,
            each also .gz, .bz2, .xz or .zst; any other is read as plain text); a folder, read
            recursively in sorted order; `hf:NAME[:CONFIG][:SPLIT]` for a Hugging Face dataset; or a
            sequence of these.
        field: the field or column of tables and datasets that holds the text.
        most_bytes: read so much text of each `hf:` dataset, such as 500MB or 2GB.
        validation: names whose documents are all validation text.
        development: names whose documents are all development text.

    Raises:
        BadInput: a file cannot be read; the message names the file and the line.
    """
    names = [data] if isinstance(data, str) else list(data)
    check_names([*names, *validation, *development])
    with notify_if_slow(f"reading {printable(joined_names(names))}"):
        read = [_load_one(name, field, byte_count(most_bytes)) for name in names]
        held_out = [
            (_load_one(name, field, byte_count(most_bytes)), part)
            for part, given in (("validation", validation), ("development", development))
            for name in given
        ]
    corpora = [corpus for corpus, _ in read]
    documents = tuple(document for corpus in corpora for document in corpus.documents)
    documents += tuple(d._replace(part=part) for (c, _), part in held_out for d in c.documents)
    read += [each for each, _ in held_out]
    names += [*validation, *development]
    notes = tuple(note for corpus, _ in read for note in corpus.notes)
    _check_one_kind(documents)
    notes += option_notes(names, field, most_bytes, any(table for _, table in read))
    return Corpus(joined_names([corpus.name for corpus in corpora]), documents, notes)


def option_notes(
    names: Sequence[str], field: str, most_bytes: str, has_table: bool
) -> tuple[str, ...]:
    """Return remarks on options that have no effect on this data."""
    notes: tuple[str, ...] = ()
    if field != PLAIN_FIELD and not has_table:
        notes += (f"--field {field} has no effect: the data has no table or dataset",)
    if most_bytes != MOST_STREAMED and not any(name.startswith(HUB_PREFIX) for name in names):
        notes += (f"--most-bytes {most_bytes} has no effect: the data has no {HUB_PREFIX} dataset",)
    return notes


def check_names(names: Sequence[str]) -> None:
    """Raise BadInput if there is no name of data, or an empty one."""
    if not names or "" in names:
        raise BadInput(
            f"no data: give {BUILT_IN}, a file, a folder or hf:NAME", code="text.no-data"
        )


def byte_count(text: str) -> int:
    """Return a size such as 500MB or 2GB in bytes.

    Raises:
        BadInput: the text is not a size.
    """
    size: str = checked("most_bytes", ByteCount, text)
    return round(float(size[:-2]) * 1000 ** (1 + "KMGT".index(size[-2])))


def _check_one_kind(documents: Sequence[Document]) -> None:
    """Check that all documents are conversations, or none is.

    Raises:
        BadInput: there are both.
    """
    chat = next((document for document in documents if document.turns), None)
    text = next((document for document in documents if not document.turns), None)
    if chat and text:
        raise chats_and_text(chat, text)


def chats_and_text(chat: Document, text: Document) -> BadInput:
    """Return the error for a conversation and a text in one corpus."""
    return BadInput(
        f"{chat.source} is a conversation and {text.source} is plain text: train on the text "
        "first, and then on the conversations with --init RUN",
        code="text.chats-and-text",
    )


def joined_names(names: Sequence[str]) -> str:
    """Return one name for several; of many (a shell may expand a glob) only the first two."""
    rest = len(names) - 2
    return " + ".join(names if rest < 3 else [*names[:2], f"{rest} more"])


def _load_one(name: str, field: str, most_bytes: int) -> tuple[Corpus, bool]:
    """Return a corpus, and whether its text is from a column of a table."""
    if name == BUILT_IN:
        from wordorder.text.python_docs import read_python_docs

        return Corpus(name, read_python_docs()), False
    if name.startswith(HUB_PREFIX):
        from wordorder.text.hub import stream_dataset

        read = stream_dataset(name.removeprefix(HUB_PREFIX), field, most_bytes)
        return Corpus(name, *read), True
    from wordorder.text.files import read_path

    documents, notes, table = read_path(name, field)
    return Corpus(printable(name), documents, notes), table
