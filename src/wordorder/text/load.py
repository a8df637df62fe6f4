"""Reads a corpus by name: the built-in one, files and folders, datasets of a hub."""

from __future__ import annotations

from collections.abc import Sequence

from wordorder.errors import BadInput
from wordorder.patience import notify_if_slow
from wordorder.text.corpus import BUILT_IN, HUB_PREFIX, Corpus
from wordorder.text.user_text import printable

PLAIN_FIELD = "text"  # the column that is read unless another is named


def load_corpus(data: str | Sequence[str] = BUILT_IN, *, field: str = PLAIN_FIELD) -> Corpus:
    """Read a corpus by name or from one's own files.

    `python-docs`, `notes.txt`, `books/`, `a.jsonl.gz`, `hf:roneneldan/TinyStories`, or several.

    Args:
        data: `python-docs`; a file (.txt, .md, .py, .jsonl, .ndjson, .json, .csv, .tsv, .parquet,
            each also .gz; any other is read as plain text); a folder, read recursively in sorted
            order; `hf:NAME[:CONFIG][:SPLIT]` for a Hugging Face dataset; or a sequence of these.
        field: which field or column of a table or dataset holds the text.

    Raises:
        BadInput: naming the file, and where in it, that cannot be read.
    """
    names = [data] if isinstance(data, str) else list(data)
    if not names or "" in names:
        raise BadInput(f"no data given: name {BUILT_IN}, a file, a folder or hf:NAME")
    with notify_if_slow(f"reading {printable(_joined(names))}"):
        read = [_load_one(name, field) for name in names]
    corpora = [corpus for corpus, _ in read]
    documents = tuple(document for corpus in corpora for document in corpus.documents)
    notes = tuple(note for corpus in corpora for note in corpus.notes)
    if field != PLAIN_FIELD and not any(table for _, table in read):
        notes += (f"--field {field} is not used: none of the data is a table or dataset",)
    return Corpus(_joined([corpus.name for corpus in corpora]), documents, notes)


def _joined(names: Sequence[str]) -> str:
    """Return one name for several; of many, which a shell may have written out, the first two."""
    rest = len(names) - 2
    return " + ".join(names if rest < 3 else [*names[:2], f"{rest} more"])


def _load_one(name: str, field: str) -> tuple[Corpus, bool]:
    """Return a corpus, and whether its text is the column of a table."""
    if name == BUILT_IN:
        from wordorder.text.python_docs import read_python_docs

        return Corpus(name, read_python_docs()), False
    if name.startswith(HUB_PREFIX):
        from wordorder.text.hub import stream_dataset

        return Corpus(name, *stream_dataset(name.removeprefix(HUB_PREFIX), field)), True
    from wordorder.text.files import read_path

    documents, notes, table = read_path(name, field)
    return Corpus(printable(name), documents, notes), table
