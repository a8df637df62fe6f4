"""A corpus: documents of text, and where they came from.

Everything a model reads goes through this one class, whether it was built in, read from files or
streamed from a hub, so that splitting, counting and hashing are written once. The texts are held in
memory: the small models of this package learn from megabytes, and a document that is a plain `str`
can be hashed, cut and tokenized without a second notion of where it lies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from wordorder.errors import BadInput
from wordorder.patience import said_if_slow
from wordorder.text.user_text import printable

BUILT_IN = "python-docs"
HUB_PREFIX = "hf:"
END_OF_TEXT = "<|endoftext|>"
PLAIN_FIELD = "text"  # the column that is read unless another is named


class Document(NamedTuple):
    """One text and where it came from (a file, a line of a file, a module)."""

    text: str
    source: str


@dataclass(frozen=True)
class Corpus:
    """Documents in a fixed order, under the name they were asked for by.

    Args:
        name: what to call it in plans and reports.
        documents: at least one, none empty.
        notes: what a reader should know of how it was read, one sentence each.
    """

    name: str
    documents: Sequence[Document]
    notes: tuple[str, ...] = ()

    @cached_property
    def bytes(self) -> int:
        """UTF-8 bytes of all texts, the denominator of bits per byte."""
        return sum(len(document.text.encode()) for document in self.documents)

    @cached_property
    def characters(self) -> int:
        """Unicode code points of all texts."""
        return sum(len(document.text) for document in self.documents)

    @cached_property
    def content_hash(self) -> str:
        """A hash of the texts and their boundaries; names and sources do not enter."""
        digest = hashlib.blake2b(digest_size=16)
        for document in self.documents:
            data = document.text.encode()
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
        return digest.hexdigest()

    def split(
        self, fraction: float = 0.1, how: Literal["auto", "hash", "tail"] = "auto"
    ) -> tuple[Corpus, Corpus]:
        """Split into training and validation text, with no part that chooses.

        Args:
            fraction: share for validation, between 0 and 1.
            how: see `wordorder.text.split.split_corpus`, which splits in three.

        Raises:
            BadInput: where the fraction or the corpus leaves nothing for one side.
        """
        from wordorder.text.split import split_corpus

        split = split_corpus(self, fraction, rule=how)
        return split.training, split.validation


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
    with said_if_slow(f"reading {printable(_joined(names))}"):
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
