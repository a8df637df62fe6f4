"""Tokenizers: bytes, characters, byte-level BPE, or a user's tokenizer.json.

Each is a Hugging Face `tokenizers` object with an end-of-text token, so the tokenizer.json of a run
loads in transformers (`PreTrainedTokenizerFast(tokenizer_file=...)`). Special tokens have the last
ids, so adding the optional mask token changes no other id.

Bytes and characters are encoded and decoded with NumPy, because `tokenizers` needs about 150 bytes
of memory per token; tests check that both code paths agree. Text such as `<|endoftext|>` is
encoded as ordinary characters: only the token store ends documents.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import decoders, models

from wordorder.atomic import write_text
from wordorder.errors import BadInput
from wordorder.text.backends import (
    ENDS_OF_TEXT,
    MASKS,
    SMALLEST_BPE,
    add_special,
    bpe_backend,
    byte_backend,
    bytes_of,
    character_backend,
    kind_of,
)
from wordorder.text.corpus import Corpus
from wordorder.text.hub_files import is_on_hub
from wordorder.text.pieces import BETWEEN_GPT2_PARTS, BETWEEN_PARTS, LINE_STARTS, pieces
from wordorder.text.round_trip import RoundTrip, round_trip
from wordorder.text.special_tokens import END, ENDS, declared, special_ids
from wordorder.text.tokenizer_file import KINDS, custom_backend, ending_backend

# What each is fitted on. An alphabet is not fitted: it only says which characters occur.
FITTED_ON = {
    "bpe": "merges learnt from the training text alone",
    "characters": "the alphabet of the whole text",
}

# Pieces encoded at once, which bounds the 150 bytes per token that `tokenizers` needs.
PIECES_AT_ONCE = 16
# A user's tokenizer may treat the start of a text specially, so that a cut can add a token.
# Long pieces make that rare.
CUSTOM_PIECE_CHARACTERS = 1 << 20
BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")  # SentencePiece's spelling of a byte


class Tokenizer:
    """Text to token ids and back, with an end-of-text id and exact byte counts.

    Args:
        backend: a Hugging Face tokenizer that declares its end-of-text token, or has one of the
            known ones.
        beginning: the token that begins texts, where it is not the one that ends them.

    Attributes:
        kind: bpe, bytes or characters; `custom` for a user's tokenizer.
        vocabulary_size: number of token ids.
        roles: ids of the special tokens that an imported tokenizer declares, by the names of
            `special_tokens.ROLES`; empty for others.
        end_of_text: id of the token that ends documents.
        ends_of_text: ids of all tokens at which generation stops, `end_of_text` among them.
        beginning_of_text: id of the token that is put before a text: `end_of_text`, as in
            wordorder's own training, or that of an imported model, such as Llama 2's `<s>`.
        mask: id of the mask token; None without one.

    Not here: creating a tokenizer (`make_tokenizer`), encoding whole corpora (`open_store`).
    """

    def __init__(self, backend: tokenizers.Tokenizer, beginning: str | None = None) -> None:
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True
        if isinstance(backend.model, models.BPE):
            backend.model.dropout = None  # BPE dropout would make encoding random
        self.backend = backend
        self.kind = kind_of(backend)
        self._round_trips: dict[str, RoundTrip] = {}
        vocabulary = backend.get_vocab(with_added_tokens=True)
        self.vocabulary_size: int = max(vocabulary.values()) + 1
        roles = declared(backend)
        ends = roles.pop(ENDS, [])
        known = (vocabulary[name] for name in ENDS_OF_TEXT if name in vocabulary)
        self.end_of_text: int = roles.pop(END)[0] if END in roles else next(known)
        self.roles: dict[str, int] = {role: ids[0] for role, ids in roles.items()}
        self.ends_of_text: tuple[int, ...] = tuple(dict.fromkeys([*ends, self.end_of_text]))
        self.beginning_of_text: int = vocabulary.get(beginning or "", self.end_of_text)
        known_mask = next((vocabulary[n] for n in MASKS if n in vocabulary), None)
        self.mask: int | None = self.roles.get("mask_token", known_mask)

    @classmethod
    def load(cls, path: str | Path, beginning: str | None = None) -> Tokenizer:
        """Load a tokenizer.json, or the one in a folder; `beginning` as in the class.

        Raises:
            BadInput: the file is missing or damaged.
        """
        return cls(ending_backend(path), beginning)

    def save(self, path: str | Path) -> None:
        """Write the tokenizer as JSON, atomically."""
        write_text(path, self.backend.to_str(pretty=True))

    @cached_property
    def content_hash(self) -> str:
        """A hash of everything that affects encoding."""
        return hashlib.blake2b(self.backend.to_str().encode(), digest_size=16).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without special tokens.

        Raises:
            BadInput: the text has a character or word that the tokenizer cannot encode.
        """
        return self.encode_array(text).tolist()

    def encode_array(self, text: str) -> NDArray[np.uint32]:
        """Return the ids of a text as a uint32 array (tokens,); see `encode`."""
        try:
            return self._encode_array(text)
        except UnicodeEncodeError as error:
            raise BadInput(
                f"the text has a lone surrogate, {error.object[error.start]!a}, which is not a "
                "character: remove it",
                code="text.surrogate",
            ) from None

    def _encode_array(self, text: str) -> NDArray[np.uint32]:
        if self.kind == "bytes":
            return np.frombuffer(text.encode(), np.uint8).astype(np.uint32)
        if self.kind == "characters":
            return self._encode_characters(text)
        size = CUSTOM_PIECE_CHARACTERS if self._cuts is LINE_STARTS else None
        ids, cut = [np.empty(0, np.uint32)], pieces(text, self._cuts, size)
        while batch := list(islice(cut, PIECES_AT_ONCE)):
            try:
                encoded = self.backend.encode_batch_fast(batch, add_special_tokens=False)
            except Exception as error:  # the library raises plain Exception
                raise self._not_encoded(batch, error) from None
            ids.extend(np.array(e.ids, np.uint32) for e in encoded)
        return np.concatenate(ids)

    def _not_encoded(self, texts: Sequence[str], error: Exception) -> BadInput:
        """Return the error for texts that cannot be encoded; it names the first such word."""
        split = self.backend.pre_tokenizer.pre_tokenize_str if self.backend.pre_tokenizer else None
        normal = self.backend.normalizer.normalize_str if self.backend.normalizer else str
        for text in map(normal, texts):
            for word, _ in split(text) if split else [(text, ())]:
                try:
                    self.backend.model.tokenize(word)
                except Exception:
                    return BadInput(
                        f"the tokenizer cannot encode {word[:40]!r} ({error}): add an unknown "
                        "token to its vocabulary, remove the word, or use --tokenizer bpe",
                        code="text.word-not-encoded",
                    )
        return BadInput(
            f"the tokenizer cannot encode this text ({error}): use --tokenizer bpe",
            code="text.not-encoded",
        )

    def round_trip(self, corpus: Corpus) -> RoundTrip:
        """Test, once, whether decoding restores a corpus; our own kinds are lossless."""
        if self.kind != "custom":
            return RoundTrip(0, 0, "")
        key = corpus.content_hash
        if key not in self._round_trips:
            texts = (document.text for document in corpus.documents)
            self._round_trips[key] = round_trip(
                texts, lambda text: self.decode(self.encode(text)), corpus.characters
            )
        return self._round_trips[key]

    def notes(self, corpus: Corpus, requested_size: int | None = None) -> tuple[str, ...]:
        """Return remarks on this tokenizer and a corpus, one sentence each.

        Args:
            requested_size: the requested vocabulary size of a bpe trained on this corpus.
        """
        notes = []
        if requested_size and self.vocabulary_size < requested_size:
            notes.append(
                f"the vocabulary has {self.vocabulary_size:,} tokens instead of "
                f"{requested_size:,}: no other pair of tokens occurs twice within the words of "
                "this text"
            )
        loss = self.round_trip(corpus).note
        return (*notes, loss) if loss else tuple(notes)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids, without special tokens; invalid UTF-8 becomes U+FFFD."""
        if self._spellings is None:
            return self.backend.decode(list(ids), skip_special_tokens=True)
        return b"".join(self._spellings[token] for token in ids).decode(errors="replace")

    def token_bytes(self, ids: Iterable[int] | NDArray[Any]) -> int:
        """Return the number of UTF-8 bytes of these tokens' text; special tokens have none."""
        array = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids), np.int64)
        return int(self.bytes_per_token[array].sum())

    @cached_property
    def bytes_per_token(self) -> NDArray[np.int64]:
        """The number of UTF-8 bytes of each token, int64 `(vocabulary_size,)`.

        Exact for bytes, characters and byte-level BPE. SentencePiece's space mark counts as a
        space. Not exact for a tokenizer that drops characters, such as BERT's.
        """
        if self._spellings is not None:
            return np.array([len(spelling) for spelling in self._spellings], np.int64)
        byte_level = '"ByteLevel"' in json.dumps(json.loads(self.backend.to_str())["decoder"])
        sizes = np.zeros(self.vocabulary_size, np.int64)
        for token, index in self.backend.get_vocab(with_added_tokens=False).items():
            plain = token.replace("▁", " ").removeprefix("##").encode()
            plain = bytes_of(token) if byte_level else plain
            sizes[index] = 1 if BYTE_TOKEN.fullmatch(token) else len(plain)
        sizes[self._special_ids] = 0
        return sizes

    @cached_property
    def _cuts(self) -> re.Pattern[str]:
        """A pattern of boundaries at which a text can be cut without changing tokens."""
        if self.kind != "bpe":
            return LINE_STARTS
        before = json.loads(self.backend.to_str())["pre_tokenizer"]
        return BETWEEN_PARTS if before["type"] == "Sequence" else BETWEEN_GPT2_PARTS

    @cached_property
    def _special_ids(self) -> list[int]:
        return special_ids(self.backend)

    @cached_property
    def _spellings(self) -> list[bytes] | None:
        """The bytes of each token; None if the text of a token depends on its neighbours."""
        if self.kind != "characters" and not isinstance(self.backend.decoder, decoders.ByteLevel):
            return None
        spellings = [b""] * self.vocabulary_size
        for token, index in self.backend.get_vocab(with_added_tokens=False).items():
            spellings[index] = token.encode() if self.kind == "characters" else bytes_of(token)
        for index, added in self.backend.get_added_tokens_decoder().items():
            spellings[index] = b"" if added.special else added.content.encode()
        return spellings

    @cached_property
    def _known_characters(self) -> NDArray[np.int32]:
        """Ids by code point, -1 where unknown."""
        vocabulary = self.backend.get_vocab(with_added_tokens=False)
        table = np.full(0x110000, -1, np.int32)
        for character, index in vocabulary.items():
            if len(character) == 1:
                table[ord(character)] = index
        return table

    def _encode_characters(self, text: str) -> NDArray[np.uint32]:
        ids = self._known_characters[np.frombuffer(text.encode("utf-32-le"), np.uint32)]
        unknown = np.flatnonzero(ids < 0)
        if unknown.size:
            character = text[unknown[0]]
            known = int((self._known_characters >= 0).sum())
            raise BadInput(
                f"character {character!r} (U+{ord(character):04X}) at offset {unknown[0]} is "
                f"not among the {known} characters of this tokenizer: remove it, or train a model "
                "without --init, with --tokenizer bytes or bpe",
                code="text.unknown-character",
            )
        return ids.astype(np.uint32)

    def special_id(self, name: str) -> int:
        """Return the id of a special token.

        Raises:
            BadInput: the tokenizer has no such token.
        """
        index = self.backend.token_to_id(name)
        if index is None:
            raise BadInput(
                f"the tokenizer has no special token {name}, which the chat template needs: train "
                "on conversations with wordorder train --init RUN",
                code="text.no-special-token",
            )
        return int(index)

    def with_special(self, names: Sequence[str]) -> Tokenizer:
        """Return a tokenizer that has these special tokens; new ones get the next ids."""
        special = {self.backend.id_to_token(index) for index in self._special_ids}
        missing = [name for name in names if name not in special]
        if not missing:
            return self
        backend = tokenizers.Tokenizer.from_str(self.backend.to_str())
        for name in missing:
            add_special(backend, [name], always=True)
        return Tokenizer(backend)

    @property
    def special_ids(self) -> list[int]:
        """The ids of special tokens, which have no text."""
        return self._special_ids

    @property
    def spellings(self) -> list[bytes] | None:
        """The bytes of each token, b"" for special ones; None if they depend on neighbours."""
        return self._spellings


def make_tokenizer(
    how: str,
    corpus: Corpus,
    vocabulary_size: int = 4096,
    *,
    alphabet: Corpus | None = None,
    mask: bool = False,
    special_tokens: Sequence[str] = (),
    written: str = "",
) -> Tokenizer:
    """Create the tokenizer for a corpus; the result is deterministic.

    Args:
        how: `bpe`, `bytes`, `characters`, or the path of a tokenizer.json.
        corpus: the training part of a split, from which bpe learns its merges. Merges learned from
            held-out text as well encode it in fewer tokens, and its bits per byte are too low.
        vocabulary_size: largest vocabulary of bpe with special tokens, at least 257; a small
            corpus yields fewer tokens. Ignored by the other kinds.
        alphabet: the whole text, from which `characters` takes its alphabet: otherwise a character
            that occurs only in held-out text could not be encoded. It reveals which characters
            occur, but not how often or where. None: `corpus`.
        mask: whether to add a mask token, for the masked-token objective.
        special_tokens: further special tokens, such as those of a chat template.
        written: what a chat template writes, whose characters join the alphabet.

    Raises:
        BadInput: an unknown kind, a vocabulary that is too small, or an invalid file.
    """
    if how == "bytes":
        backend = byte_backend()
    elif how == "characters":
        backend = character_backend(alphabet or corpus, written)
    elif how == "bpe":
        added = mask + len(special_tokens)
        backend = bpe_backend(corpus, vocabulary_size - 1 - added, smallest=SMALLEST_BPE + added)
    elif how.endswith(".json") or os.sep in how or is_on_hub(how) or Path(how).exists():
        backend = custom_backend(how)
    else:
        raise BadInput(
            f"unknown tokenizer {how!r}: use {', '.join(KINDS)}, the path of a tokenizer.json, or "
            "hf:NAME",
            code="text.unknown-tokenizer",
        )
    if how in KINDS:
        add_special(backend, ENDS_OF_TEXT)
    if mask:
        add_special(backend, MASKS)
    return Tokenizer(backend).with_special(special_tokens)


def custom_tokenizer(path: str | Path) -> Tokenizer:
    """Return the tokenizer of a user's tokenizer.json, for text that a model is trained on.

    Raises:
        BadInput: the file is missing or damaged.
    """
    return Tokenizer(custom_backend(path))
