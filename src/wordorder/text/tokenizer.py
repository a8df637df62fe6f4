"""Tokenizers: bytes, characters, byte-level BPE, or one that is brought; one tokenizer.json each.

Each is a Hugging Face `tokenizers` object with an end-of-text token, so the one file in a run
folder loads in transformers as it is (`PreTrainedTokenizerFast(tokenizer_file=...)`). Special
tokens take the last ids, and `mask` exists only where it was asked for: adding it moves no other.

Bytes and characters are encoded and decoded here with NumPy, because the general road keeps some
150 bytes of bookkeeping per token; tests hold both roads equal. Text that spells a special token,
such as `<|endoftext|>`, is encoded as the characters it is made of: only the store ends a document.
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
from wordorder.text.pieces import BETWEEN_GPT2_PARTS, BETWEEN_PARTS, LINE_STARTS, pieces
from wordorder.text.round_trip import RoundTrip, round_trip
from wordorder.text.user_text import user_path

KINDS = ("bpe", "bytes", "characters")

# Encoded at once: the general road's bookkeeping, some 150 bytes a token, is kept for these only.
PIECES_AT_ONCE = 16
# A tokenizer that is brought may treat the start of a text in its own way, so that a cut can add a
# token: its pieces are long.
BROUGHT_PIECE_CHARACTERS = 1 << 20
BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")  # SentencePiece's spelling of a byte


class Tokenizer:
    """Text to token ids and back, with an end-of-text id and exact byte counts.

    Args:
        backend: a Hugging Face tokenizer that has one of the known end-of-text tokens.

    Not here: training and choosing one (`make_tokenizer`), whole corpora (`open_store`).
    """

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True
        if isinstance(backend.model, models.BPE):
            backend.model.dropout = None  # the same text is the same tokens every time
        self.backend = backend
        self.kind = kind_of(backend)
        self._tried: dict[str, RoundTrip] = {}
        vocabulary = backend.get_vocab(with_added_tokens=True)
        self.vocabulary_size: int = max(vocabulary.values()) + 1
        self.end_of_text: int = next(vocabulary[n] for n in ENDS_OF_TEXT if n in vocabulary)
        self.mask: int | None = next((vocabulary[n] for n in MASKS if n in vocabulary), None)

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Read a tokenizer.json, or the one in a folder.

        Raises:
            BadInput: where there is none, or it is damaged.
        """
        return cls(_read(path))

    def save(self, path: str | Path) -> None:
        """Write tokenizer.json, whole or not at all."""
        write_text(path, self.backend.to_str(pretty=True))

    @cached_property
    def content_hash(self) -> str:
        """A hash of everything that decides which ids a text becomes."""
        return hashlib.blake2b(self.backend.to_str().encode(), digest_size=16).hexdigest()

    def encode(self, text: str) -> list[int]:
        """The ids of a text, none of them special.

        Raises:
            BadInput: naming the character that a character tokenizer does not know.
        """
        return self.encode_array(text).tolist()

    def encode_array(self, text: str) -> NDArray[np.uint32]:
        """The same as an array."""
        try:
            return self._encode_array(text)
        except UnicodeEncodeError as error:
            raise BadInput(
                f"the text holds half a surrogate pair, {error.object[error.start]!a}, which is no "
                "character: leave it out"
            ) from None

    def _encode_array(self, text: str) -> NDArray[np.uint32]:
        if self.kind == "bytes":
            return np.frombuffer(text.encode(), np.uint8).astype(np.uint32)
        if self.kind == "characters":
            return self._encode_characters(text)
        size = BROUGHT_PIECE_CHARACTERS if self._cuts is LINE_STARTS else None
        ids, cut = [np.empty(0, np.uint32)], pieces(text, self._cuts, size)
        while batch := list(islice(cut, PIECES_AT_ONCE)):
            try:
                encoded = self.backend.encode_batch_fast(batch, add_special_tokens=False)
            except Exception as error:  # the library raises plain Exception
                raise BadInput(self._why_not(batch, error)) from None
            ids.extend(np.array(e.ids, np.uint32) for e in encoded)
        return np.concatenate(ids)

    def _why_not(self, texts: Sequence[str], error: Exception) -> str:
        """Return which word cannot be encoded, and what to do."""
        split = self.backend.pre_tokenizer.pre_tokenize_str if self.backend.pre_tokenizer else None
        normal = self.backend.normalizer.normalize_str if self.backend.normalizer else str
        for text in map(normal, texts):
            for word, _ in split(text) if split else [(text, ())]:
                try:
                    self.backend.model.tokenize(word)
                except Exception:
                    return (
                        f"the tokenizer cannot encode {word[:40]!r} ({error}): give its vocabulary "
                        "an unknown token, leave the word out, or train with --tokenizer bpe"
                    )
        return f"the tokenizer cannot encode this text ({error}): train with --tokenizer bpe"

    def round_trip(self, corpus: Corpus) -> RoundTrip:
        """Try, once, whether a corpus comes back from its tokens; of our own kinds all do."""
        if self.kind != "brought":
            return RoundTrip(0, 0, "")
        key = corpus.content_hash
        if key not in self._tried:
            texts = [document.text for document in corpus.documents]
            self._tried[key] = round_trip(texts, lambda text: self.decode(self.encode(text)))
        return self._tried[key]

    def notes(self, corpus: Corpus, asked: int | None = None) -> tuple[str, ...]:
        """Return what a reader should know of this tokenizer on a text, one sentence each.

        Args:
            asked: the vocabulary size that was asked for, of a bpe that was made for this.
        """
        notes = []
        if asked and self.vocabulary_size < asked:
            notes.append(
                f"the vocabulary has {self.vocabulary_size:,} tokens, not {asked:,}: no other pair "
                "of tokens occurs twice within the words of this text"
            )
        lost = self.round_trip(corpus).note
        return (*notes, lost) if lost else tuple(notes)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids; special tokens are silent, broken UTF-8 becomes U+FFFD."""
        if self._spellings is None:
            return self.backend.decode(list(ids), skip_special_tokens=True)
        return b"".join(self._spellings[token] for token in ids).decode(errors="replace")

    def token_bytes(self, ids: Iterable[int] | NDArray[Any]) -> int:
        """How many UTF-8 bytes of text these tokens stand for; special tokens for none."""
        array = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids), np.int64)
        return int(self.bytes_per_token[array].sum())

    @cached_property
    def bytes_per_token(self) -> NDArray[np.int64]:
        """The UTF-8 bytes of each token, `(vocabulary_size,)`.

        Exact for bytes, characters and byte-level BPE. SentencePiece's marks are counted as what
        they stand for; a tokenizer that drops characters (BERT's) cannot be exact.
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
        """Where this tokenizer splits a text anyway."""
        if self.kind != "bpe":
            return LINE_STARTS
        before = json.loads(self.backend.to_str())["pre_tokenizer"]
        return BETWEEN_PARTS if before["type"] == "Sequence" else BETWEEN_GPT2_PARTS

    @cached_property
    def _special_ids(self) -> list[int]:
        added = self.backend.get_added_tokens_decoder()
        return [index for index, token in added.items() if token.special]

    @cached_property
    def _spellings(self) -> list[bytes] | None:
        """Each token's bytes, where tokens have bytes of their own; else None."""
        if self.kind != "characters" and not isinstance(self.backend.decoder, decoders.ByteLevel):
            return None
        spellings = [b""] * self.vocabulary_size
        for token, index in self.backend.get_vocab(with_added_tokens=False).items():
            spellings[index] = token.encode() if self.kind == "characters" else bytes_of(token)
        for index, token in self.backend.get_added_tokens_decoder().items():
            spellings[index] = b"" if token.special else token.content.encode()
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
                f"not among the {known} this character tokenizer was made from: leave it out, "
                "or train a model without --init, with --tokenizer bytes or bpe"
            )
        return ids.astype(np.uint32)

    @property
    def special_ids(self) -> list[int]:
        """The ids that stand for no text."""
        return self._special_ids

    @property
    def spellings(self) -> list[bytes] | None:
        """Each token's bytes, b"" for special ones; None where its neighbours decide them."""
        return self._spellings


def make_tokenizer(
    how: str,
    corpus: Corpus,
    vocabulary_size: int = 4096,
    *,
    alphabet: Corpus | None = None,
    mask: bool = False,
) -> Tokenizer:
    """Make the tokenizer for a corpus, the same one every time.

    Args:
        how: `bpe`, `bytes`, `characters`, or the path of a tokenizer.json.
        corpus: the training part of a split, from which bpe learns its merges. Merges learnt from
            held-out text too spell it in fewer tokens, and its loss in bits per byte comes out
            too low.
        alphabet: the whole text, from which characters takes its alphabet, because a character
            that only a held-out part has could not be encoded; None: the corpus. The alphabet
            says which characters occur, and nothing of how often or where.
        vocabulary_size: most tokens of bpe, special ones counted, at least 257; a small corpus
            yields fewer. The other kinds have the size they have.
        mask: whether a mask token is added, for the masked-token objective.

    Raises:
        BadInput: for an unknown kind, an impossible size, or a file that is no tokenizer.
    """
    if how == "bytes":
        backend = byte_backend()
    elif how == "characters":
        backend = character_backend(alphabet or corpus)
    elif how == "bpe":
        backend = bpe_backend(corpus, vocabulary_size - 1 - mask, smallest=SMALLEST_BPE + mask)
    elif how.endswith(".json") or os.sep in how or Path(how).exists():
        backend = _read(how)
    else:
        raise BadInput(
            f"unknown tokenizer {how!r}: it is one of {', '.join(KINDS)}, "
            "or the path of a tokenizer.json"
        )
    add_special(backend, ENDS_OF_TEXT)
    if mask:
        add_special(backend, MASKS)
    return Tokenizer(backend)


def _read(path: str | Path) -> tokenizers.Tokenizer:
    path = user_path(path)
    path = path / "tokenizer.json" if path.is_dir() else path
    if not path.is_file():
        raise BadInput(
            f"no such tokenizer: {path}; give the path of a tokenizer.json, "
            f"or one of {', '.join(KINDS)}"
        )
    try:
        backend = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8-sig"))
    except Exception as error:  # the library raises plain Exception for whatever is wrong
        raise BadInput(f"{path} is no tokenizer.json that can be read: {error}") from None
    add_special(backend, ENDS_OF_TEXT)
    return backend
