"""A run's tokenizer in a GGUF file, read back from one, and the proof that llama.cpp agrees."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers

from wordorder.errors import BadInput, Refused
from wordorder.interop.holders import KINDS
from wordorder.interop.tokenizer_files import padding, sample_texts
from wordorder.text.pieces import PATTERN
from wordorder.text.special_tokens import END, ENDS, declare, declared
from wordorder.text.tokenizer import Tokenizer

NORMAL, CONTROL, UNUSED = 1, 3, 5  # llama.cpp's types of tokens
# llama.cpp's names of the patterns that a text is split by.
OURS, GPT2 = "qwen35", "gpt-2"
# llama.cpp wants merges, and a tokenizer of bytes has none: two characters that stand for no byte.
NO_MERGES = ["▁ ▁"]
# llama.cpp's keys of tokens that end a text or an answer beside eos_token_id, and our own of all
# that an imported tokenizer declares to end a text, which llama.cpp does not read.
OTHER_ENDS, OWN_ENDS = ("eot_token_id", "eom_token_id"), "eos_token_ids"
WORDS = 256  # tokens in one of the texts that tokenizers are compared on


def check_held(tokenizer: Tokenizer) -> None:
    """Raise unless llama.cpp has this kind of tokenizer.

    Raises:
        BadInput: it has not: what to train with.
    """
    if tokenizer.kind not in KINDS["gguf"].tokenizers:
        kind = "characters" if tokenizer.kind == "characters" else "that of its own file"
        raise BadInput(
            f"llama.cpp does not hold the run's tokenizer ({kind}): it holds byte-level BPE with "
            "wordorder's or GPT-2's pattern: train with --tokenizer bpe",
            code="interop.gguf-tokenizer-not-held",
        )


def metadata(tokenizer: Tokenizer, vocabulary_size: int) -> dict[str, Any]:
    """Return the tokenizer's metadata, by keys after "tokenizer.ggml".

    The same token opens a text as where `wordorder generate` reads a prompt.

    Args:
        vocabulary_size: rows of the embedding table.
    """
    data = json.loads(tokenizer.backend.to_str())
    names = {index: name for name, index in tokenizer.backend.get_vocab().items()}
    special = set(tokenizer.special_ids)
    merges = [m if isinstance(m, str) else " ".join(m) for m in data["model"]["merges"]]
    ids = range(vocabulary_size)
    return {
        "model": "gpt2",
        "pre": _pattern(data),
        "tokens": [names.get(i, f"<unused {i}>") for i in ids],
        "token_type": [CONTROL if i in special else NORMAL if i in names else UNUSED for i in ids],
        "merges": merges or NO_MERGES,
        "bos_token_id": tokenizer.beginning_of_text,
        "eos_token_id": tokenizer.end_of_text,
        "padding_token_id": padding(tokenizer),
        "add_bos_token": True,
        "add_eos_token": False,
        "add_space_prefix": False,
        **({OWN_ENDS: list(tokenizer.ends_of_text)} if declared(tokenizer.backend) else {}),
    }


def _pattern(data: dict[str, Any]) -> str:
    is_plain = data["pre_tokenizer"]["type"] == "ByteLevel"  # the pattern of bytes has no effect
    return GPT2 if is_plain and data["pre_tokenizer"]["use_regex"] else OURS


def read_back(values: dict[str, Any], file: str) -> Tokenizer:
    """Return the tokenizer of a file's metadata, the inverse of `metadata`.

    Args:
        file: its name, for the message.

    Raises:
        BadInput: another kind of tokenizer.
    """
    pattern = values.get("pre")
    if values.get("model") != "gpt2" or pattern not in (OURS, GPT2):
        raise BadInput(
            f"{file} has the tokenizer {values.get('model')} with the pattern {pattern}: give a "
            f"file of wordorder export, which has gpt2 with {OURS} or {GPT2}",
            code="interop.gguf-other-tokenizer",
        )
    named = list(enumerate(zip(values["tokens"], values["token_type"], strict=True)))
    merges = [] if values["merges"] == NO_MERGES else values["merges"]
    backend = tokenizers.Tokenizer(
        models.BPE(
            vocab={token: i for i, (token, kind) in named if kind == NORMAL},
            merges=[tuple(merge.split(" ")) for merge in merges],
        )
    )
    by_bytes = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=pattern == GPT2 and bool(merges)
    )
    backend.pre_tokenizer = by_bytes
    if pattern == OURS and merges:
        split = pre_tokenizers.Split(Regex(PATTERN), "isolated")
        backend.pre_tokenizer = pre_tokenizers.Sequence([split, by_bytes])
    backend.decoder = decoders.ByteLevel()
    special = [token for _, (token, kind) in named if kind == CONTROL]
    backend.add_special_tokens([AddedToken(n, special=True, normalized=False) for n in special])
    if OWN_ENDS in values:
        declare(backend, {END: [values["eos_token_id"]], ENDS: values[OWN_ENDS]})
    return Tokenizer(backend, values["tokens"][values["bos_token_id"]])


def _vocabulary_texts(tokenizer: Tokenizer) -> Iterator[tuple[str, list[int]]]:
    """Yield texts of all words in the vocabulary, which need every merge, with their ids."""
    spellings = [spelling for spelling in tokenizer.spellings or () if len(spelling) > 1]
    for start in range(0, len(spellings), WORDS):
        text = b" ".join(spellings[start : start + WORDS]).decode(errors="replace")
        yield text, tokenizer.encode(text)


def check_tokenizer(model: Any, tokenizer: Tokenizer) -> int:
    """Return how many texts llama.cpp encodes and decodes as the run's tokenizer does.

    Args:
        model: a `LlamaCpp`.

    Raises:
        Refused: one of them differs.
    """
    count = 0
    for text, ids in (*sample_texts(tokenizer), *_vocabulary_texts(tokenizer)):
        count += 1
        decoded = b"".join(map(model.piece, ids)).decode(errors="replace")
        results = (model.tokenize(text), model.tokenize(text, start=True), decoded)
        if results != (ids, [tokenizer.beginning_of_text, *ids], tokenizer.decode(ids)):
            raise Refused(
                f"llama.cpp's tokenizer encodes or decodes {text[:40]!r} differently from the "
                "run's tokenizer: nothing was written",
                code="interop.gguf-tokenizer-differs",
            )
    return count
