"""Builds the Hugging Face `tokenizers` objects behind our tokenizers, and recognises them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers

from wordorder.errors import BadInput
from wordorder.patience import notify_if_slow
from wordorder.text.corpus import END_OF_TEXT, Corpus
from wordorder.text.pieces import BETWEEN_PARTS, PATTERN, pieces, short_runs

MASK = "<|mask|>"
# Names of the same tokens in tokenizers of other model families.
ENDS_OF_TEXT = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>", "[SEP]")
MASKS = (MASK, "<mask>", "[MASK]")

ANY_CHARACTER = r"[\s\S]"  # a dot would leave newlines out

SMALLEST_BPE = 257  # every byte, and the end of text

# More text hardly changes the merges, and pairs in this much are counted in a few seconds.
MOST_TRAINING_CHARACTERS = 16_000_000

# The limit for text with few spaces, in which few words repeat and counting takes longer.
MOST_UNSPACED_CHARACTERS, FEWEST_SPACES = 4_000_000, 1 / 32


def _spellings_of_bytes() -> list[str]:
    """Return how byte-level vocabularies write each byte.

    Source: `bytes_to_unicode` in GPT-2's encoder.py: printable Latin-1 as itself, the others from
    U+0100 on in order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (chr(0x100 + number) for number in range(256))
    return [chr(byte) if byte in printable else next(others) for byte in range(256)]


SPELLINGS = _spellings_of_bytes()
BYTES = {spelling: byte for byte, spelling in enumerate(SPELLINGS)}


def bytes_of(token: str) -> bytes:
    """Return the bytes of a byte-level token, or the UTF-8 of a token spelled otherwise."""
    if BYTES.keys() >= set(token):
        return bytes([BYTES[character] for character in token])
    return token.encode()


def add_special(
    backend: tokenizers.Tokenizer, names: Sequence[str], *, always: bool = False
) -> None:
    """Add the first of these special tokens, unless the tokenizer has any of them.

    Args:
        always: also if it is a token already, which becomes special.
    """
    if always or not any(backend.token_to_id(name) is not None for name in names):
        backend.add_special_tokens([AddedToken(names[0], special=True, normalized=False)])


def byte_backend() -> tokenizers.Tokenizer:
    """Return a byte-level BPE without merges, whose ids are the byte values."""
    vocabulary = {SPELLINGS[byte]: byte for byte in range(256)}
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def character_backend(corpus: Corpus, written: str = "") -> tokenizers.Tokenizer:
    """Return a tokenizer with one token per code point of the corpus, in code point order.

    Args:
        written: further text, such as the words of a chat template.
    """
    alphabet = set(written)
    for document in corpus.documents:
        alphabet.update(document.text)
    known = sorted(alphabet)
    vocabulary = {character: index for index, character in enumerate(known)}
    backend = tokenizers.Tokenizer(models.WordLevel(vocabulary))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(ANY_CHARACTER), "isolated")
    backend.decoder = decoders.Fuse()
    return backend


def bpe_backend(corpus: Corpus, size: int, smallest: int) -> tokenizers.Tokenizer:
    """Return a byte-level BPE, trained on the corpus or on an even sample of it.

    Args:
        size: number of tokens without special tokens.
        smallest: the smallest allowed vocabulary with special tokens, for the message.

    Raises:
        BadInput: `size` is below 256, the number of bytes.
    """
    if size < 256:
        raise BadInput(
            f"vocabulary size {size + smallest - 256} is too small for bpe: "
            f"use at least {smallest}",
            code="text.vocabulary-too-small",
        )
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        min_frequency=2,
    )
    with notify_if_slow(f"learning a vocabulary from {corpus.characters:,} characters"):
        backend.train_from_iterator(sample(corpus), trainer)
    return backend


def sample(corpus: Corpus) -> Iterator[str]:
    """Yield pieces of a corpus, evenly spaced, for training a BPE."""
    spaces = sum(document.text.count(" ") for document in corpus.documents)
    spaced = spaces >= FEWEST_SPACES * corpus.characters
    most = MOST_TRAINING_CHARACTERS if spaced else MOST_UNSPACED_CHARACTERS
    stride = -(-corpus.characters // most)
    cut = (piece for document in corpus.documents for piece in pieces(document.text, BETWEEN_PARTS))
    for piece in islice(cut, 0, None, stride):
        yield from short_runs(piece)


def kind_of(backend: tokenizers.Tokenizer) -> str:
    """Return which of our kinds a backend is; `custom` for any other."""
    data = json.loads(backend.to_str())
    model, before = data["model"], data["pre_tokenizer"] or {}
    ours = (data["decoder"] or {}).get("type") in ("ByteLevel", "Fuse") and all(
        token["special"] for token in data["added_tokens"]
    )
    if data["normalizer"] is not None or not ours:
        return "custom"
    if model["type"] == "WordLevel" and before.get("pattern") == {"Regex": ANY_CHARACTER}:
        return "characters"
    if model["type"] != "BPE" or any(spelling not in model["vocab"] for spelling in SPELLINGS):
        return "custom"
    split = [{"type": "Split", "pattern": {"Regex": PATTERN}}]
    if before.get("type") == "Sequence":
        *first, before = before["pretokenizers"]
        ours = [{key: step.get(key) for key in split[0]} for step in first] == split
    else:
        ours = bool(before.get("use_regex"))  # versions before 0.2 used GPT-2's pattern
    byte_level = before.get("type") == "ByteLevel" and not before["add_prefix_space"]
    in_order = [model["vocab"][spelling] for spelling in SPELLINGS] == list(range(256))
    if byte_level and in_order and not model["merges"] and not ours and not before["use_regex"]:
        return "bytes"
    return "bpe" if byte_level and ours else "custom"
