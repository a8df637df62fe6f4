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
from typing import NamedTuple

BUILT_IN = "python-docs"
HUB_PREFIX = "hf:"
END_OF_TEXT = "<|endoftext|>"


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


def __getattr__(name: str) -> object:
    if name == "load_corpus":
        raise ImportError("load_corpus is in wordorder.text.load now: import it from there")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
