"""Encodes the documents of a chunk into a shard; any number of processes give the same bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wordorder.atomic import replacing_folder
from wordorder.text.chat_template import ChatTemplate, recorded_template
from wordorder.text.corpus import Document
from wordorder.text.sharded.folder import SHARD, TOKENIZER, checksum_of, shard_folder
from wordorder.text.sharded.spool import Chunk
from wordorder.text.split_notes import PARTS
from wordorder.text.store import encode_document, token_dtype
from wordorder.text.tokenizer import Tokenizer


class ShardTask(NamedTuple):
    """A shard to be made.

    Args:
        folder: the prepared text.
        number: of the shard.
        chunk: its documents.
        chat: the record of the template of conversations; None for text.
    """

    folder: Path
    number: int
    chunk: Chunk
    chat: Mapping[str, Any] | None


def write_shard(task: ShardTask) -> None:
    """Encode the documents of a chunk and write its shard; the folder is replaced atomically.

    Raises:
        BadInput: the tokenizer cannot encode a document.
        OSError: the shard cannot be written.
    """
    tokenizer, template = _tokenizer(task.folder), None
    if task.chat is not None:
        template = recorded_template(task.chat)
    encoded = [_Part(tokenizer, template) for _ in PARTS]
    for document, part in zip(task.chunk, np.load(task.chunk.parts), strict=True):
        encoded[part].add(document)
    target = shard_folder(task.folder, task.number)
    target.parent.mkdir(exist_ok=True)
    with replacing_folder(target) as beside:
        for name, part in zip(PARTS, encoded, strict=True):
            part.write(beside, name)
        shard = {
            "tokenizer": tokenizer.content_hash,
            "parts": {name: part.facts() for name, part in zip(PARTS, encoded, strict=True)},
            "checksums": {path.name: checksum_of(path) for path in sorted(beside.iterdir())},
        }
        (beside / SHARD).write_text(json.dumps(shard))


def _tokenizer(folder: Path) -> Tokenizer:
    return _parsed(folder / TOKENIZER, (folder / TOKENIZER).read_bytes())


@lru_cache(maxsize=1)
def _parsed(path: Path, contents: bytes) -> Tokenizer:
    """Return the tokenizer in a file with these contents; another file may come to its place."""
    return Tokenizer.load(path)


class _Part:
    """The documents of one part of a shard."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate | None) -> None:
        self.tokenizer, self.template = tokenizer, template
        self.dtype = np.dtype(token_dtype(tokenizer)).newbyteorder("<")
        self.tokens: list[NDArray[np.unsignedinteger]] = []
        self.answers: list[NDArray[np.bool_]] = []
        self.sizes: list[int] = []
        self.bytes = self.words = 0

    def add(self, document: Document) -> None:
        tokens, answers = encode_document(document, self.tokenizer, self.template)
        self.tokens.append(tokens.astype(self.dtype, copy=False))
        self.sizes.append(len(tokens))
        self.words += len(document.text.split())
        if answers is None:
            self.bytes += len(document.text.encode())
        else:
            self.answers.append(answers)
            self.bytes += self.tokenizer.token_bytes(tokens[answers])

    def write(self, folder: Path, name: str) -> None:
        if not self.sizes:
            return
        arrays: dict[str, Sequence[NDArray[Any]]] = {
            "tokens": self.tokens,
            "sizes": [np.array(self.sizes, "<u4")],
        }
        if self.template is not None:
            arrays["answers"] = self.answers
        for what, pieces in arrays.items():
            with (folder / f"{name}.{what}").open("wb") as file:
                for piece in pieces:
                    piece.tofile(file)

    def facts(self) -> dict[str, int]:
        answers = {"answer_tokens": int(sum(part.sum() for part in self.answers))}
        return {
            "tokens": sum(self.sizes),
            "documents": len(self.sizes),
            "bytes": self.bytes,
            "words": self.words,
            **(answers if self.template is not None else {}),
        }
