"""A corpus: documents of text with their sources.

Built-in text, files and Hugging Face datasets all become a `Corpus`, so splitting, counting and
hashing are written once. Documents are plain strings in memory; those of a text that is larger than
memory are read from disk each time (sharded/spool.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

BUILT_IN = "python-docs"
HUB_PREFIX = "hf:"
END_OF_TEXT = "<|endoftext|>"


class Turn(NamedTuple):
    """One turn of a conversation.

    Args:
        role: system, user or assistant; prompt or answer of a row with these two fields.
        content: the text of the turn.
    """

    role: str
    content: str


class Document(NamedTuple):
    """One document and its source: a file, a line of a file, or a module.

    Args:
        text: the whole text.
        source: where it was read, for messages.
        turns: the turns of a conversation; empty for plain text.
        part: `validation` or `development` if the user has assigned it; empty: the split does.
    """

    text: str
    source: str
    turns: tuple[Turn, ...] = ()
    part: str = ""


@dataclass(frozen=True)
class Corpus:
    """Documents in a fixed order.

    Args:
        name: name for plans and reports.
        documents: at least one, none empty.
        notes: remarks on how the documents were read, such as files left out; one sentence each.
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

    @property
    def is_chat(self) -> bool:
        """Whether the documents are conversations; all are, or none is."""
        return bool(self.documents) and bool(self.documents[0].turns)

    @cached_property
    def content_hash(self) -> str:
        """A hash of the documents and their boundaries, without names and sources."""
        digest = ContentDigest()
        for document in self.documents:
            digest.add(document)
        return digest.hexadecimal


def merged(corpora: Sequence[Corpus]) -> Corpus:
    """Return the documents of several corpora, one after another; one corpus as it is."""
    if len(corpora) == 1:
        return corpora[0]
    documents = tuple(document for corpus in corpora for document in corpus.documents)
    return Corpus(" + ".join(corpus.name for corpus in corpora), documents)


class ContentDigest:
    """A hash of documents, added one by one; see `Corpus.content_hash`."""

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=16)

    def add(self, document: Document) -> None:
        """Add the next document."""
        for text in (document.text, *(part for turn in document.turns for part in turn)):
            data = text.encode()
            self._digest.update(len(data).to_bytes(8, "little"))
            self._digest.update(data)
        self._digest.update(document.part.encode())

    @property
    def hexadecimal(self) -> str:
        """The hash of the documents so far."""
        return self._digest.hexdigest()


def __getattr__(name: str) -> object:
    if name == "load_corpus":
        raise ImportError("load_corpus has moved: import it from wordorder.text.load")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
