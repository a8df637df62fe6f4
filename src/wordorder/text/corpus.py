"""A corpus: documents of text, where they came from, and how they split.

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

BUILT_IN = "python-docs"
HUB_PREFIX = "hf:"
END_OF_TEXT = "<|endoftext|>"

# Below this a hash decides too coarsely: one long document more or less moves the split by 5%.
FEWEST_DOCUMENTS_TO_HASH = 20


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
        """Part the corpus into what is learnt from and what is only measured on.

        Args:
            fraction: share for validation, between 0 and 1.
            how: `hash` sends whole documents by a hash of their text, so that adding a document
                moves no other and equal texts never land on both sides; `tail` takes exactly the
                last fraction of the characters (nanoGPT's split of Shakespeare); `auto` hashes
                from 20 documents on.

        Raises:
            BadInput: where the fraction or the corpus leaves nothing for one side.
        """
        if not 0 < fraction < 1:
            raise BadInput(
                f"validation fraction {fraction:g} leaves nothing on one side: "
                "give a number between 0 and 1, such as 0.1"
            )
        if self.characters < 2:
            raise BadInput(
                f"{self.name} holds {self.characters} characters: too few to split in two; "
                "give more text"
            )
        few = len(self.documents) < FEWEST_DOCUMENTS_TO_HASH
        if how == "tail" or (how == "auto" and few):
            parts = self._split_tail(fraction)
        else:
            parts = self._split_hash(fraction)
        return self._part("training", parts[0]), self._part("validation", parts[1])

    def _part(self, side: str, documents: list[Document]) -> Corpus:
        return Corpus(f"{self.name} ({side})", tuple(documents), self.notes)

    def _split_hash(self, fraction: float) -> tuple[list[Document], list[Document]]:
        if len(self.documents) < 2:
            raise BadInput(
                f"{self.name} is one document, which a hash cannot split: split it by its tail"
            )
        drawn = [_share(document.text) for document in self.documents]
        held = [share < fraction for share in drawn]
        # However the hashes fall, each side needs a document.
        if not any(held):
            held[drawn.index(min(drawn))] = True
        if all(held):
            held[drawn.index(max(drawn))] = False
        pairs = list(zip(self.documents, held, strict=True))
        return [d for d, out in pairs if not out], [d for d, out in pairs if out]

    def _split_tail(self, fraction: float) -> tuple[list[Document], list[Document]]:
        room = int(self.characters * (1 - fraction))
        room = min(max(room, 1), self.characters - 1)
        training: list[Document] = []
        validation: list[Document] = []
        for text, source in self.documents:
            if room > 0:
                training.append(Document(text[:room], source))
            if len(text) > room:
                validation.append(Document(text[max(room, 0) :], source))
            room -= len(text)
        return training, validation


def _share(text: str) -> float:
    """A number in [0, 1) that is this text's on every machine and in every process."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64


def load_corpus(data: str | Sequence[str] = BUILT_IN, *, field: str = "text") -> Corpus:
    """Read a corpus by name or from one's own files.

    `python-docs`, `notes.txt`, `books/`, `a.jsonl.gz`, `hf:roneneldan/TinyStories`, or several.

    Args:
        data: `python-docs`; a file (.txt, .md, .py, .jsonl, .parquet, each also .gz; any other is
            read as plain text); a folder, read recursively in sorted order;
            `hf:NAME[:CONFIG][:SPLIT]` for a Hugging Face dataset; or a sequence of these.
        field: which field or column of .jsonl, .parquet and datasets holds the text.

    Raises:
        BadInput: naming the file, and where in it, that cannot be read.
    """
    names = [data] if isinstance(data, str) else list(data)
    if not names:
        raise BadInput(f"no data given: name {BUILT_IN}, a file, a folder or hf:NAME")
    corpora = [_load_one(name, field) for name in names]
    documents = tuple(document for corpus in corpora for document in corpus.documents)
    notes = tuple(note for corpus in corpora for note in corpus.notes)
    return Corpus(_joined([corpus.name for corpus in corpora]), documents, notes)


def _joined(names: Sequence[str]) -> str:
    """Return one name for several; of many, which a shell may have written out, the first two."""
    rest = len(names) - 2
    return " + ".join(names if rest < 3 else [*names[:2], f"{rest} more"])


def _load_one(name: str, field: str) -> Corpus:
    if name == BUILT_IN:
        from wordorder.text.python_docs import read_python_docs

        return Corpus(name, read_python_docs())
    if name.startswith(HUB_PREFIX):
        from wordorder.text.hub import stream_dataset

        return Corpus(name, *stream_dataset(name.removeprefix(HUB_PREFIX), field))
    from wordorder.text.files import read_path

    return Corpus(name, *read_path(name, field))
