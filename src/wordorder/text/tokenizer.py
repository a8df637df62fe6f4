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
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers

from wordorder.atomic import write_text
from wordorder.errors import BadInput
from wordorder.text.corpus import END_OF_TEXT, Corpus

KINDS = ("bpe", "bytes", "characters")
MASK = "<|mask|>"

# What other families call the same thing, where a tokenizer is brought.
ENDS_OF_TEXT = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>", "[SEP]")
MASKS = (MASK, "<mask>", "[MASK]")

ANY_CHARACTER = r"[\s\S]"  # a dot would leave newlines out

SMALLEST_BPE = 257  # every byte, and the end of text

# Merges hardly change with more text, and this much is counted in a few seconds.
MOST_TRAINING_CHARACTERS = 16_000_000

# Long documents are cut to keep memory bounded. GPT-2's pattern lets whitespace only begin a word,
# so that a cut before a single blank leaves the tokens those of the whole.
PIECE_CHARACTERS = 1 << 16
BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")  # SentencePiece's spelling of a byte
SAFE_CUT = re.compile(r"\S(?=[ \n]\S)")


def _spellings_of_bytes() -> list[str]:
    """How byte-level vocabularies write each byte.

    Source: `bytes_to_unicode` in GPT-2's encoder.py: printable Latin-1 as itself, the others from
    U+0100 on in order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (chr(0x100 + number) for number in range(256))
    return [chr(byte) if byte in printable else next(others) for byte in range(256)]


SPELLINGS = _spellings_of_bytes()
BYTES = {spelling: byte for byte, spelling in enumerate(SPELLINGS)}


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
        self.backend = backend
        self.kind = _kind(backend)
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
        if self.kind == "bytes":
            return np.frombuffer(text.encode(), np.uint8).astype(np.uint32)
        if self.kind == "characters":
            return self._encode_characters(text)
        pieces = list(_pieces(text)) if self.kind == "bpe" else [text]
        encoded = self.backend.encode_batch_fast(pieces, add_special_tokens=False)
        return np.concatenate(
            [np.empty(0, np.uint32), *(np.array(e.ids, np.uint32) for e in encoded)]
        )

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
        sizes = np.zeros(self.vocabulary_size, np.int64)
        for token, index in self.backend.get_vocab(with_added_tokens=False).items():
            plain = token.replace("▁", " ").removeprefix("##")
            sizes[index] = 1 if BYTE_TOKEN.fullmatch(token) else len(plain.encode())
        sizes[self._special_ids] = 0
        return sizes

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
            spelt = token.encode() if self.kind == "characters" else bytes(map(BYTES.get, token))
            spellings[index] = spelt
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
                "or train with --tokenizer bytes or bpe"
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
        backend = _bytes()
    elif how == "characters":
        backend = _characters(alphabet or corpus)
    elif how == "bpe":
        backend = _bpe(corpus, vocabulary_size - 1 - mask, smallest=SMALLEST_BPE + mask)
    elif how.endswith(".json") or os.sep in how or Path(how).exists():
        backend = _read(how)
    else:
        raise BadInput(
            f"unknown tokenizer {how!r}: it is one of {', '.join(KINDS)}, "
            "or the path of a tokenizer.json"
        )
    _add_special(backend, ENDS_OF_TEXT)
    if mask:
        _add_special(backend, MASKS)
    return Tokenizer(backend)


def _add_special(backend: tokenizers.Tokenizer, names: Sequence[str]) -> None:
    if not any(backend.token_to_id(name) is not None for name in names):
        backend.add_special_tokens([AddedToken(names[0], special=True, normalized=False)])


def _bytes() -> tokenizers.Tokenizer:
    """A byte-level BPE without merges, whose ids are the byte values."""
    vocabulary = {SPELLINGS[byte]: byte for byte in range(256)}
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def _characters(corpus: Corpus) -> tokenizers.Tokenizer:
    """One token per code point of the corpus, in code point order."""
    known = sorted(set().union(*(document.text for document in corpus.documents)))
    vocabulary = {character: index for index, character in enumerate(known)}
    backend = tokenizers.Tokenizer(models.WordLevel(vocabulary))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(ANY_CHARACTER), "isolated")
    backend.decoder = decoders.Fuse()
    return backend


def _bpe(corpus: Corpus, size: int, smallest: int) -> tokenizers.Tokenizer:
    """GPT-2's byte-level BPE, trained on the corpus or an even sample of it."""
    if size < 256:
        raise BadInput(
            f"vocabulary size {size + smallest - 256} is too small for bpe: "
            f"it needs at least {smallest}"
        )
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        min_frequency=2,
    )
    backend.train_from_iterator(_sample(corpus), trainer)
    return backend


def _sample(corpus: Corpus) -> Iterator[str]:
    stride = -(-corpus.characters // MOST_TRAINING_CHARACTERS)
    pieces = (piece for document in corpus.documents for piece in _pieces(document.text))
    yield from (piece for number, piece in enumerate(pieces) if number % stride == 0)


def _pieces(text: str) -> Iterator[str]:
    """Cut a long text where a word ends anyway; a text without such a place stays whole."""
    start = 0
    while len(text) - start > PIECE_CHARACTERS:
        cut = SAFE_CUT.search(text, start + PIECE_CHARACTERS)
        if cut is None:
            break
        yield text[start : cut.end()]
        start = cut.end()
    if text[start:]:
        yield text[start:]


def _read(path: str | Path) -> tokenizers.Tokenizer:
    path = Path(path).expanduser()
    path = path / "tokenizer.json" if path.is_dir() else path
    if not path.is_file():
        raise BadInput(
            f"no such tokenizer: {path}; give the path of a tokenizer.json, "
            f"or one of {', '.join(KINDS)}"
        )
    try:
        backend = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception for whatever is wrong
        raise BadInput(f"{path} is no tokenizer.json that can be read: {error}") from None
    _add_special(backend, ENDS_OF_TEXT)
    return backend


def _kind(backend: tokenizers.Tokenizer) -> str:
    """Which of our kinds a backend is; `brought` for any other."""
    data = json.loads(backend.to_str())
    model, before = data["model"], data["pre_tokenizer"] or {}
    if data["normalizer"] is not None:
        return "brought"
    if model["type"] == "WordLevel" and before.get("pattern") == {"Regex": ANY_CHARACTER}:
        return "characters"
    byte_level = before.get("type") == "ByteLevel" and not before.get("add_prefix_space")
    if model["type"] == "BPE" and byte_level and len(model["vocab"]) >= 256:
        in_order = [model["vocab"].get(spelling) for spelling in SPELLINGS] == list(range(256))
        if in_order and not model["merges"] and not before["use_regex"]:
            return "bytes"
        return "bpe" if before["use_regex"] else "brought"
    return "brought"
