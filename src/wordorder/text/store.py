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
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordorder.atomic import reclaim, replacing_folder
from wordorder.errors import BadInput
from wordorder.patience import notify_if_slow
from wordorder.text.chat_template import ChatTemplate
from wordorder.text.corpus import Corpus, Document
from wordorder.text.sharded.array import ShardedArray
from wordorder.text.split import FEWEST_DOCUMENTS_TO_HASH
from wordorder.text.tokenizer import Tokenizer

# Part of every entry's name: increase it when the stored arrays of the same input change.
LAYOUT = 2

ARRAYS = ("tokens", "starts")


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
        answers: (tokens,) bool: which tokens of conversations are targets; `bytes` then counts only
            answers. None: text, in which every token is a target.
        folder: the prepared text whose memory-mapped arrays these are. None: the arrays are in
            memory, or in the cache.
        part: the part of the prepared text, such as training.
    """

    tokens: NDArray[np.unsignedinteger] | ShardedArray
    starts: NDArray[np.int64]
    bytes: int
    end_of_text: int
    vocabulary_size: int
    lossless: bool = True
    answers: NDArray[np.bool_] | ShardedArray | None = None
    folder: Path | None = None
    part: str = ""

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of tokens of each document, end-of-text included."""
        return np.diff(self.starts, append=len(self))

    @property
    def targets(self) -> int:
        """Number of tokens that are targets."""
        return len(self) if self.answers is None else int(self.answers.sum())

    def windows(self, places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return inputs and targets at these consecutive indices of the ring; see `following`."""
        return self.following(places[:, :-1])

    def following(self, places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the tokens at these indices of the ring as inputs, and those after as targets.

        A document starts after an end-of-text token, as in training. If the document before it was
        cut, there is none, so its last token is replaced by end-of-text in the inputs.

        Args:
            places: int64 (rows, time); -1 is the last token.

        Returns:
            Inputs and targets, int64 (rows, time) each.
        """
        targets = self.tokens[(places + 1) % len(self)].astype(np.int64)
        return self.inputs(places), targets

    def inputs(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the inputs that `following` returns, at places of any shape."""
        read = self.tokens[places % len(self)].astype(np.int64)
        if self._has_cut_documents:
            opening = (places + 1) % len(self)
            nearest = np.searchsorted(self.starts, opening, side="right") - 1
            read = np.where(self.starts[nearest] == opening, self.end_of_text, read)
        return read

    @cached_property
    def _has_cut_documents(self) -> bool:
        """Whether the last token of some document is not end-of-text."""
        if self.folder is not None:  # of a store on disk no document is cut
            return False
        ends = (self.starts - 1) % len(self)
        return bool((self.tokens[ends] != self.end_of_text).any())


def cache_folder() -> Path:
    """Return the cache folder: $XDG_CACHE_HOME/wordorder/tokens, by default in ~/.cache."""
    home = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    if home.startswith("~"):  # a user without a home folder
        home = tempfile.gettempdir()
    return Path(home) / "wordorder" / "tokens"


def open_store(
    corpus: Corpus, tokenizer: Tokenizer, template: ChatTemplate | None = None
) -> TokenStore:
    """Return the tokens of a corpus, from the cache if they are in it.

    Args:
        template: how conversations are written, of which the answers alone are targets; None for
            text. Conversations without a template are read as text.

    Raises:
        BadInput: the tokenizer cannot encode a document, or the corpus is empty.
    """
    if not corpus.bytes:
        raise BadInput(f"{corpus.name} is empty: it contains no text", code="text.empty-corpus")
    written = f" {template.content_hash}" if template else ""
    key = f"{LAYOUT} {corpus.content_hash} {tokenizer.content_hash}{written}"
    entry = cache_folder() / hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
    names = ARRAYS if template is None else (*ARRAYS, "answers")
    arrays = _opened(entry, names)
    if arrays is None:
        with notify_if_slow(f"tokenizing {corpus.characters:,} characters"):
            encoded = dict(zip(names, _encode(corpus, tokenizer, template), strict=True))
        # Without disk space or permission the run continues without the cache.
        with contextlib.suppress(OSError):
            _write(entry, encoded)
        arrays = _opened(entry, names) or encoded
    lossless = tokenizer.round_trip(corpus).lossless
    size = corpus.bytes
    if template is not None:
        size = tokenizer.token_bytes(arrays["tokens"][arrays["answers"]])
    return TokenStore(
        arrays["tokens"],
        arrays["starts"],
        size,
        end_of_text=tokenizer.end_of_text,
        vocabulary_size=tokenizer.vocabulary_size,
        lossless=lossless,
        answers=arrays.get("answers"),
    )


def beginning(store: TokenStore, most_tokens: int, tokenizer: Tokenizer) -> TokenStore:
    """Return the first tokens of a store, with their number of bytes.

    With few documents these are the first tokens of each, in proportion to its length, so that
    three files in three languages are all included.
    """
    if len(store) <= most_tokens:
        return store
    if store.answers is not None:
        first = max(1, int(np.searchsorted(store.starts + store.sizes, most_tokens, "right")))
        return _of_documents(store, np.arange(len(store.starts)) < first, tokenizer)
    if len(store.starts) >= FEWEST_DOCUMENTS_TO_HASH:
        tokens = store.tokens[:most_tokens]
        starts = store.starts[: np.searchsorted(store.starts, most_tokens)]
    else:
        # Rounding the ends instead of the sizes makes their sum exactly `most_tokens`.
        ends = np.cumsum(store.sizes) * most_tokens // len(store)
        sizes = np.diff(ends, prepend=0)
        nonempty = sizes > 0
        pieces = zip(store.starts[nonempty], sizes[nonempty], strict=True)
        tokens = np.concatenate([store.tokens[start : start + size] for start, size in pieces])
        starts = (ends - sizes)[nonempty]
    size = tokenizer.token_bytes(tokens)
    return replace(store, tokens=tokens, starts=starts, bytes=size, folder=None)


def joined(stores: Sequence[TokenStore]) -> TokenStore:
    """Return the documents of several stores of one tokenizer, one store after another."""
    ends = np.cumsum([len(store) for store in stores])
    first = stores[0]
    return replace(
        first,
        folder=None,
        tokens=np.concatenate([store.tokens for store in stores]),
        starts=np.concatenate(
            [s.starts + end - len(s) for s, end in zip(stores, ends, strict=True)]
        ),
        bytes=sum(store.bytes for store in stores),
        lossless=all(store.lossless for store in stores),
        answers=None
        if first.answers is None
        else np.concatenate([store.answers for store in stores]),
    )


def shortened(
    store: TokenStore, most_tokens: int, tokenizer: Tokenizer
) -> tuple[TokenStore, int, int]:
    """Cut each conversation after so many tokens, and leave out those with no answer before it.

    Returns:
        The store, the number of conversations that were cut, and of those that were left out.
    """
    assert store.answers is not None
    cut = store.sizes > most_tokens
    if not cut.any():
        return store, 0, 0
    within = np.arange(len(store)) - np.repeat(store.starts, store.sizes)
    has_answer = np.add.reduceat(store.answers & (within < most_tokens), store.starts) > 0
    left = _of_documents(store, has_answer, tokenizer, most_tokens)
    return left, int((cut & has_answer).sum()), int((~has_answer).sum())


def _of_documents(
    store: TokenStore,
    chosen: NDArray[np.bool_],
    tokenizer: Tokenizer,
    most_tokens: int | None = None,
) -> TokenStore:
    """Return a store of some conversations, each cut after so many tokens.

    Args:
        chosen: (documents,) bool, whether a conversation is in it.
    """
    assert store.answers is not None
    within = np.arange(len(store)) - np.repeat(store.starts, store.sizes)
    kept = np.repeat(chosen, store.sizes) & (within < (most_tokens or len(store)))
    tokens, answers = store.tokens[kept], store.answers[kept]
    starts = np.flatnonzero(within[kept] == 0)
    size = tokenizer.token_bytes(tokens[answers])
    return replace(store, tokens=tokens, answers=answers, starts=starts, bytes=size, folder=None)


def _encode(
    corpus: Corpus, tokenizer: Tokenizer, template: ChatTemplate | None
) -> tuple[NDArray[Any], ...]:
    """Return the arrays of a store, in the order of their names."""
    encoded = [encode_document(document, tokenizer, template) for document in corpus.documents]
    tokens = [ids for ids, _ in encoded]
    if template is None and all(len(ids) == 1 for ids in tokens):
        raise no_tokens(corpus.name)
    starts = np.concatenate([[0], np.cumsum([len(ids) for ids in tokens], dtype=np.int64)[:-1]])
    if template is None:
        return np.concatenate(tokens), starts
    return np.concatenate(tokens), starts, np.concatenate([answers for _, answers in encoded])


def token_dtype(tokenizer: Tokenizer) -> type[np.unsignedinteger]:
    """Return the smallest type of the tokens of a store."""
    return np.uint16 if tokenizer.vocabulary_size <= 1 << 16 else np.uint32


def encode_document(
    document: Document, tokenizer: Tokenizer, template: ChatTemplate | None = None
) -> tuple[NDArray[np.unsignedinteger], NDArray[np.bool_] | None]:
    """Return the tokens of a document and of its end, and which are answers in a conversation.

    Raises:
        BadInput: the tokenizer cannot encode it.
    """
    dtype, end = token_dtype(tokenizer), tokenizer.end_of_text
    try:
        if template is None:
            ids = tokenizer.encode_array(document.text).astype(dtype)
            return np.append(ids, np.array(end, dtype)), None
        ids, answers = template.encode(document.turns, tokenizer)
    except BadInput as error:
        raise _not_encoded(document, error) from None
    if not len(ids) or ids[-1] != end:  # some templates end with it
        ids, answers = np.append(ids, end), np.append(answers, True)
    return ids.astype(dtype), answers


def no_tokens(name: str) -> BadInput:
    """Return the error for a text that a tokenizer encodes as nothing."""
    return BadInput(
        f"the tokenizer encodes {name} as no tokens: use --tokenizer bpe", code="text.no-tokens"
    )


def _not_encoded(document: Document, error: BadInput) -> BadInput:
    return BadInput(f"{document.source}: {error}", code="text.document-not-encoded")


def _write(entry: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    reclaim(entry.parent)
    # An existing entry is damaged, or another process has just written the same.
    with replacing_folder(entry) as beside:
        for name, array in arrays.items():
            np.save(beside / f"{name}.npy", array)
        sums = {name: _checksum(array) for name, array in arrays.items()}
        (beside / "sums.json").write_text(json.dumps(sums))


def _opened(entry: Path, names: Sequence[str]) -> dict[str, NDArray[Any]] | None:
    """Return the arrays of an entry, or None if it is missing or damaged."""
    try:
        sums = json.loads((entry / "sums.json").read_text())
        arrays = {
            name: np.load(entry / f"{name}.npy", mmap_mode=None if name == "starts" else "r")
            for name in names
        }
        whole = sums == {name: _checksum(array) for name, array in arrays.items()}
    except (OSError, ValueError, TypeError, EOFError):
        return None
    return arrays if whole else None


def _checksum(array: NDArray[np.generic]) -> int:
    return zlib.crc32(np.ascontiguousarray(array).data.cast("B"))
