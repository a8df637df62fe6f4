"""The tokens of a corpus in one memory-mapped array, cached by content.

A cache entry is a folder named by a hash of the documents and of the tokenizer. Nothing else
affects its contents, so entries are never stale and may be shared. They are written atomically and
verified when opened: an entry damaged by a full disk or a crash is created again. If the cache
cannot be written, the tokens stay in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wordorder.atomic import reclaim, replacing_folder
from wordorder.errors import BadInput
from wordorder.patience import notify_if_slow
from wordorder.text.corpus import Corpus
from wordorder.text.split import FEWEST_DOCUMENTS_TO_HASH
from wordorder.text.tokenizer import Tokenizer

# Part of every entry's name: increase it when the stored arrays of the same input change.
LAYOUT = 2

Arrays = tuple[NDArray[np.unsignedinteger], NDArray[np.int64]]  # tokens, starts


@dataclass(frozen=True)
class TokenStore:
    """The tokens of a corpus, document after document.

    Args:
        tokens: (tokens,), uint16 if the vocabulary fits, else uint32. Documents end with
            `end_of_text`, except those that `beginning` cut.
        starts: (documents,), int64, the index of each document's first token.
        bytes: UTF-8 bytes of all documents, for bits per byte.
        end_of_text: id of the token that ends documents.
        vocabulary_size: number of token ids.
        lossless: whether decoding restores the text; otherwise bits per byte are undefined.
    """

    tokens: NDArray[np.unsignedinteger]
    starts: NDArray[np.int64]
    bytes: int
    end_of_text: int
    vocabulary_size: int
    lossless: bool = True

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of tokens of each document, end-of-text included."""
        return np.diff(self.starts, append=len(self))

    def windows(self, places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return inputs and targets at these indices of the ring.

        A document starts after an end-of-text token, as in training. If the document before it was
        cut, there is none, so its last token is replaced by end-of-text in the inputs.

        Args:
            places: int64 (rows, time + 1); the last column is a target only. -1 is the last token.

        Returns:
            Inputs and targets, int64 (rows, time) each.
        """
        tokens = self.tokens[places % len(self)].astype(np.int64)
        read, targets = tokens[:, :-1], tokens[:, 1:]
        if len(self._cut_ends):
            cut = np.isin(places[:, :-1] % len(self), self._cut_ends)
            read = np.where(cut, self.end_of_text, read)
        return read, targets

    @cached_property
    def _cut_ends(self) -> NDArray[np.int64]:
        """Indices of the last tokens of documents without an end-of-text token."""
        ends = (self.starts - 1) % len(self)
        return ends[self.tokens[ends] != self.end_of_text]


def cache_folder() -> Path:
    """Return the cache folder: $XDG_CACHE_HOME/wordorder/tokens, by default in ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "wordorder" / "tokens"


def open_store(corpus: Corpus, tokenizer: Tokenizer) -> TokenStore:
    """Return the tokens of a corpus, from the cache if they are in it.

    Raises:
        BadInput: the tokenizer cannot encode a document, or the corpus is empty.
    """
    if not corpus.bytes:
        raise BadInput(
            f"{corpus.name} is empty: it contains no text to train on", code="text.empty-corpus"
        )
    key = f"{LAYOUT} {corpus.content_hash} {tokenizer.content_hash}"
    entry = cache_folder() / hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
    arrays = _opened(entry)
    if arrays is None:
        with notify_if_slow(f"tokenizing {corpus.characters:,} characters"):
            encoded = _encode(corpus, tokenizer)
        # Without disk space or permission the run continues without the cache.
        with contextlib.suppress(OSError):
            _write(entry, *encoded)
        arrays = _opened(entry) or encoded
    lossless = tokenizer.round_trip(corpus).lossless
    return TokenStore(
        *arrays, corpus.bytes, tokenizer.end_of_text, tokenizer.vocabulary_size, lossless
    )


def beginning(store: TokenStore, most_tokens: int, tokenizer: Tokenizer) -> TokenStore:
    """Return the first tokens of a store, with their number of bytes.

    With few documents these are the first tokens of each, in proportion to its length, so that
    three files in three languages are all included.
    """
    if len(store) <= most_tokens:
        return store
    if len(store.starts) >= FEWEST_DOCUMENTS_TO_HASH:
        tokens = store.tokens[:most_tokens]
        starts = store.starts[store.starts < most_tokens]
    else:
        # Rounding the ends instead of the sizes makes their sum exactly `most_tokens`.
        ends = np.cumsum(store.sizes) * most_tokens // len(store)
        sizes = np.diff(ends, prepend=0)
        nonempty = sizes > 0
        pieces = zip(store.starts[nonempty], sizes[nonempty], strict=True)
        tokens = np.concatenate([store.tokens[start : start + size] for start, size in pieces])
        starts = (ends - sizes)[nonempty]
    return replace(store, tokens=tokens, starts=starts, bytes=tokenizer.token_bytes(tokens))


def _encode(corpus: Corpus, tokenizer: Tokenizer) -> Arrays:
    dtype = np.uint16 if tokenizer.vocabulary_size <= 1 << 16 else np.uint32
    end = np.array([tokenizer.end_of_text], dtype)
    parts: list[NDArray[np.unsignedinteger]] = []
    for document in corpus.documents:
        try:
            parts.append(tokenizer.encode_array(document.text).astype(dtype))
        except BadInput as error:
            raise BadInput(
                f"{document.source}: {error}", code="text.document-not-encoded"
            ) from None
        parts.append(end)
    if all(not len(part) for part in parts[::2]):
        raise BadInput(
            f"the tokenizer encodes {corpus.name} as no tokens: use --tokenizer bpe",
            code="text.no-tokens",
        )
    lengths = np.array([len(part) for part in parts], np.int64).reshape(-1, 2).sum(axis=1)
    return np.concatenate(parts), np.concatenate([[0], np.cumsum(lengths)[:-1]])


def _write(entry: Path, tokens: NDArray[np.unsignedinteger], starts: NDArray[np.int64]) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    reclaim(entry.parent)
    # An existing entry is damaged, or another process has just written the same.
    with replacing_folder(entry) as beside:
        np.save(beside / "tokens.npy", tokens)
        np.save(beside / "starts.npy", starts)
        sums = {"tokens": _checksum(tokens), "starts": _checksum(starts)}
        (beside / "sums.json").write_text(json.dumps(sums))


def _opened(entry: Path) -> Arrays | None:
    """Return the arrays of an entry, or None if it is missing or damaged."""
    try:
        sums = json.loads((entry / "sums.json").read_text())
        tokens = np.load(entry / "tokens.npy", mmap_mode="r")
        starts = np.load(entry / "starts.npy")
        whole = sums == {"tokens": _checksum(tokens), "starts": _checksum(starts)}
    except (OSError, ValueError, TypeError, EOFError):
        return None
    return (tokens, starts) if whole else None


def _checksum(array: NDArray[np.generic]) -> int:
    return zlib.crc32(memoryview(np.ascontiguousarray(array)).cast("B"))
