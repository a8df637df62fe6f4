"""Tokens of a corpus in one memory-mapped array, made once and found again by content.

An entry of the cache is a folder named by a hash of the texts and of the tokenizer: nothing else
decides what is in it, so it can be neither stale nor anyone's in particular. It is written beside
and renamed into place, and checked when opened: one that a full disk or a crash has damaged is made
again. Where the cache cannot be written the tokens stay in memory.
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

# Part of every entry's name: raised when what is stored for the same input changes.
LAYOUT = 2

Arrays = tuple[NDArray[np.unsignedinteger], NDArray[np.int64]]  # tokens, starts


@dataclass(frozen=True)
class TokenStore:
    """The tokens of a corpus, document after document.

    Args:
        tokens: uint16 where the vocabulary fits, else uint32; documents end with `end_of_text`,
            except those that `beginning` cut short.
        starts: int64, the index of each document's first token.
        bytes: UTF-8 bytes of all texts, for bits per byte.
        end_of_text: the id that ends documents.
        vocabulary_size: how many ids there are.
        lossless: whether the text comes back from its tokens, without which its bytes are no
            denominator of anything.
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
        """Tokens of each document, the end included."""
        return np.diff(self.starts, append=len(self))

    def windows(self, places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return what is read at these places of the ring, and what comes after each.

        A document is read after an end-of-text, as in training. Where the one before it was cut
        short there is none, and one is read in place of the last token there.

        Args:
            places: (rows, time + 1), the last one a target alone; -1 is the end of the text.
        """
        tokens = self.tokens[places % len(self)].astype(np.int64)
        read, targets = tokens[:, :-1], tokens[:, 1:]
        if len(self._cut_ends):
            cut = np.isin(places[:, :-1] % len(self), self._cut_ends)
            read = np.where(cut, self.end_of_text, read)
        return read, targets

    @cached_property
    def _cut_ends(self) -> NDArray[np.int64]:
        """Where the last tokens are of documents that lack their end-of-text."""
        ends = (self.starts - 1) % len(self)
        return ends[self.tokens[ends] != self.end_of_text]


def cache_folder() -> Path:
    """Where stores are kept: $XDG_CACHE_HOME/wordorder/tokens, ~/.cache by default."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "wordorder" / "tokens"


def open_store(corpus: Corpus, tokenizer: Tokenizer) -> TokenStore:
    """The tokens of a corpus, from the cache where they have been made before.

    Raises:
        BadInput: where the tokenizer cannot encode a document, or the corpus is empty.
    """
    if not corpus.bytes:
        raise BadInput(f"{corpus.name} is empty: it holds no text to learn from")
    key = f"{LAYOUT} {corpus.content_hash} {tokenizer.content_hash}"
    entry = cache_folder() / hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
    arrays = _opened(entry)
    if arrays is None:
        with notify_if_slow(f"tokenizing {corpus.characters:,} characters"):
            made = _encode(corpus, tokenizer)
        # No room or no right to write: the run goes on without a cache.
        with contextlib.suppress(OSError):
            _write(entry, *made)
        arrays = _opened(entry) or made
    lossless = tokenizer.round_trip(corpus).lossless
    return TokenStore(
        *arrays, corpus.bytes, tokenizer.end_of_text, tokenizer.vocabulary_size, lossless
    )


def beginning(store: TokenStore, most_tokens: int, tokenizer: Tokenizer) -> TokenStore:
    """Return the first tokens of a store, and how many bytes they spell.

    Of a few documents, the first tokens of each, in proportion to its length: the three languages
    of three files are all in it.
    """
    if len(store) <= most_tokens:
        return store
    if len(store.starts) >= FEWEST_DOCUMENTS_TO_HASH:
        tokens = store.tokens[:most_tokens]
        starts = store.starts[store.starts < most_tokens]
    else:
        # Rounding the ends, not the sizes, adds up to exactly the most there may be.
        ends = np.cumsum(store.sizes) * most_tokens // len(store)
        sizes = np.diff(ends, prepend=0)
        kept = sizes > 0
        pieces = zip(store.starts[kept], sizes[kept], strict=True)
        tokens = np.concatenate([store.tokens[start : start + size] for start, size in pieces])
        starts = (ends - sizes)[kept]
    return replace(store, tokens=tokens, starts=starts, bytes=tokenizer.token_bytes(tokens))


def _encode(corpus: Corpus, tokenizer: Tokenizer) -> Arrays:
    dtype = np.uint16 if tokenizer.vocabulary_size <= 1 << 16 else np.uint32
    end = np.array([tokenizer.end_of_text], dtype)
    parts: list[NDArray[np.unsignedinteger]] = []
    for document in corpus.documents:
        try:
            parts.append(tokenizer.encode_array(document.text).astype(dtype))
        except BadInput as error:
            raise BadInput(f"{document.source}: {error}") from None
        parts.append(end)
    if all(not len(part) for part in parts[::2]):
        raise BadInput(f"the tokenizer makes no token of {corpus.name}: train with --tokenizer bpe")
    lengths = np.array([len(part) for part in parts], np.int64).reshape(-1, 2).sum(axis=1)
    return np.concatenate(parts), np.concatenate([[0], np.cumsum(lengths)[:-1]])


def _write(entry: Path, tokens: NDArray[np.unsignedinteger], starts: NDArray[np.int64]) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    reclaim(entry.parent)
    # What is there now is damaged, or another process has just made the same.
    with replacing_folder(entry) as beside:
        np.save(beside / "tokens.npy", tokens)
        np.save(beside / "starts.npy", starts)
        sums = {"tokens": _checksum(tokens), "starts": _checksum(starts)}
        (beside / "sums.json").write_text(json.dumps(sums))


def _opened(entry: Path) -> Arrays | None:
    """The arrays of an entry, or None where it is missing or damaged."""
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
