"""A run's tokenizer in a GGUF file, read back from one, and the proof that llama.cpp agrees."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import chain
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers

from wordorder.errors import BadInput, Refused
from wordorder.interop.tokenizer_files import padding, sample_texts
from wordorder.text.backends import SPELLINGS, bytes_of
from wordorder.text.pieces import PATTERN
from wordorder.text.special_tokens import END, ENDS, declare, declared
from wordorder.text.tokenizer import BYTE_TOKEN, Tokenizer

from .llama_cpp import LlamaVocabulary

# llama.cpp's types of tokens.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
# llama.cpp's names of two algorithms, and of the patterns by which the first splits a text.
BYTE_LEVEL, SENTENCEPIECE = "gpt2", "llama"
OURS, GPT2 = "qwen35", "gpt-2"
SPACE = "▁"  # SentencePiece's spelling
# llama.cpp requires merges, but a byte tokenizer has none: this merge can never apply.
NO_MERGES = ["▁ ▁"]
# llama.cpp's keys of tokens that end a text or an answer, besides eos_token_id; and our own key of
# all tokens that an imported tokenizer declares to end a text, which llama.cpp does not read.
OTHER_ENDS, OWN_ENDS = ("eot_token_id", "eom_token_id"), "eos_token_ids"
# GGUF's key for the whole tokenizer.json. We write it for imported tokenizers, to read them back.
WHOLE = "tokenizer.huggingface.json"
# Patterns differ in how they split numbers, contractions, capitals, marks, spaces and line ends.
TEXTS = (
    "1 12 123 1234 12345 123456 1234567 12345678, 3.14 1,000,000 ١٢٣٤ ²",
    "I'M don't they'd WE'LL it's 'tis x'y",
    "camelCase HTTPServer snake_case __init__ a/b (word) #tag $5 50% a.b",
    "end.\n\nnext\n \n  indented\n\ttab \n  \n   three   spaces \r\n\r\nlast  ",
    "किताब 東京タワー 한국어 привет e\u0301 a\u0308 🙂👩‍🚀!? ...\n!!!\n\n;",
)
WORDS = 256  # tokens in one of the texts that tokenizers are compared on


def metadata(
    tokenizer: Tokenizer,
    vocabulary_size: int,
    algorithm: Mapping[str, Any],
    *,
    opens: bool = True,
) -> dict[str, Any]:
    """Return the tokenizer's metadata, by keys after "tokenizer.ggml".

    Texts begin with the same token as prompts in `wordorder generate`.

    Args:
        vocabulary_size: rows of the embedding table.
        algorithm: what chooses llama.cpp's algorithm, as `algorithm_of` returns it.
        opens: llama.cpp puts the token before a text that wordorder puts there.
    """
    data = json.loads(tokenizer.backend.to_str())
    model = data["model"]
    names = {index: name for name, index in tokenizer.backend.get_vocab().items()}
    added = tokenizer.backend.get_added_tokens_decoder()
    ids = range(vocabulary_size)
    merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model["merges"]]
    if algorithm["model"] == SENTENCEPIECE:
        ranks = {"".join(pair): rank for rank, pair in reversed([*enumerate(merges)])}
        order: dict[str, Any] = {"scores": [-float(ranks.get(names.get(i, ""), 0)) for i in ids]}
    else:
        order = {"merges": [" ".join(pair) for pair in merges] or NO_MERGES}
    unknown = None if (name := model["unk_token"]) is None else tokenizer.backend.token_to_id(name)
    return {
        **algorithm,
        "tokens": [names.get(i, f"<unused {i}>") for i in ids],
        "token_type": [_type(i, names, added, unknown, algorithm["model"]) for i in ids],
        **order,
        "bos_token_id": tokenizer.beginning_of_text,
        "eos_token_id": tokenizer.end_of_text,
        "padding_token_id": padding(tokenizer),
        **({} if unknown is None else {"unknown_token_id": unknown}),
        "add_bos_token": opens,
        "add_eos_token": False,
        **({OWN_ENDS: list(tokenizer.ends_of_text)} if declared(tokenizer.backend) else {}),
    }


def _type(
    index: int,
    names: Mapping[int, str],
    added: Mapping[int, AddedToken],
    unknown: int | None,
    model: str,
) -> int:
    """Return llama.cpp's type of a token."""
    if index not in names:
        return UNUSED
    if index == unknown:
        return UNKNOWN
    if index in added:
        return CONTROL if added[index].special else USER_DEFINED
    is_byte = model == SENTENCEPIECE and BYTE_TOKEN.fullmatch(names[index])
    return BYTE if is_byte else NORMAL


def is_read_back(tokenizer: Tokenizer) -> bool:
    """Return whether `read_back` can make the tokenizer from llama.cpp's metadata alone.

    That gives special tokens the ids after all others, and has no unknown token.
    """
    backend = tokenizer.backend
    ordinary = backend.get_vocab_size(with_added_tokens=False)
    special = sorted(tokenizer.special_ids)
    follow = special == list(range(ordinary, ordinary + len(special)))
    return tokenizer.kind != "custom" and follow and backend.model.unk_token is None


def read_back(fields: Mapping[str, Any], file: str) -> Tokenizer:
    """Return the tokenizer of a file's metadata, the inverse of `metadata`.

    Args:
        file: its name, for the message.

    Raises:
        BadInput: another kind of tokenizer.
    """
    prefix = "tokenizer.ggml."
    values = {name.removeprefix(prefix): value for name, value in fields.items()}
    pattern, beginning = values.get("pre"), values.get("bos_token_id")
    with suppress(Exception):  # tokenizers raises plain exceptions for a damaged file
        if WHOLE in fields and beginning is not None:
            backend = tokenizers.Tokenizer.from_str(fields[WHOLE])
            return Tokenizer(backend, values["tokens"][beginning])
    if values.get("model") != BYTE_LEVEL or pattern not in (OURS, GPT2) or beginning is None:
        raise BadInput(
            f"{file} has the tokenizer {values.get('model')} with the pattern {pattern}: give a "
            f"file of wordorder export, which has {BYTE_LEVEL} with {OURS} or {GPT2}, or the whole "
            "tokenizer.json",
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
    return Tokenizer(backend, values["tokens"][beginning])


def composes(tokenizer: Tokenizer) -> bool:
    """Return whether the tokenizer normalizes text to NFC, as Qwen's does."""
    return steps_of(_settings(tokenizer.backend.normalizer), "normalizers") == [{"type": "NFC"}]


def keeps_first_space(tokenizer: Tokenizer) -> bool:
    """Return whether no space is put before a text that begins with one, as llama.cpp puts it."""
    steps = steps_of(_settings(tokenizer.backend.pre_tokenizer), "pretokenizers")
    is_metaspace = [step["type"] for step in steps] == ["Metaspace"]
    return is_metaspace and steps[0]["prepend_scheme"] != "never"


def steps_of(step: dict[str, Any] | None, parts: str) -> list[dict[str, Any]]:
    """Return a step of tokenizer.json as a list, or the parts of a sequence of steps."""
    return [] if step is None else step.get(parts, [step])


def _settings(step: Any) -> dict[str, Any] | None:
    """Return a step as tokenizer.json has it, without writing the whole vocabulary."""
    return None if step is None else json.loads(step.__getstate__())


def misread_tokens(model: LlamaVocabulary, tokenizer: Tokenizer) -> list[str]:
    """Return the added tokens beside which llama.cpp reads a text in other tokens.

    Its SentencePiece puts a space after each of them, and it keeps spaces that a token takes.
    """
    # A copy, which reads special tokens where their names stand.
    backend = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
    texts = ("{}cat", "{} cat", "{}\ncat", "cat{}")
    return [
        name
        for name in (t.content for _, t in sorted(backend.get_added_tokens_decoder().items()))
        if any(
            model.tokenize(text.format(name), special=True)
            != backend.encode(text.format(name), add_special_tokens=False).ids
            for text in texts
        )
    ]


def _vocabulary_texts(tokenizer: Tokenizer) -> Iterator[str]:
    """Yield texts of all words in the vocabulary, which need every merge."""
    spellings = tokenizer.spellings
    if spellings is None:
        names = sorted(tokenizer.backend.get_vocab(with_added_tokens=False))
        if set(SPELLINGS) <= set(names):  # byte-level, whose decoder is one of a sequence
            spellings = [bytes_of(name) for name in names if set(name) <= set(SPELLINGS)]
        else:  # SentencePiece's
            words = (name.replace(SPACE, " ") for name in names if not BYTE_TOKEN.fullmatch(name))
            spellings = [word.encode() for word in words]
    spellings = [spelling for spelling in spellings if len(spelling) > 1]
    for start in range(0, len(spellings), WORDS):
        yield b" ".join(spellings[start : start + WORDS]).decode(errors="replace")


def compared(
    model: LlamaVocabulary, tokenizer: Tokenizer, *, opens: bool = True
) -> Iterator[tuple[str, bool]]:
    """Yield texts, and whether llama.cpp encodes and decodes each as the run's tokenizer does."""
    before = [tokenizer.beginning_of_text] if opens else []
    # SentencePiece puts a space before a text, which its decoder removes and pieces keep.
    added = len(model.decode(model.tokenize("a"))) - 1
    # An export states what llama.cpp is known to read differently: the texts are without it.
    to_nfc, strips = composes(tokenizer), keeps_first_space(tokenizer)
    random = (text for text, _ in sample_texts(tokenizer))
    for text in chain(TEXTS, random, _vocabulary_texts(tokenizer)):
        text = unicodedata.normalize("NFC", text) if to_nfc else text
        text = text.lstrip(" ") if strips else text
        ids = tokenizer.encode(text)
        results = (
            model.tokenize(text),
            model.tokenize(text, start=True),
            model.decode(ids)[added:],
        )
        yield text, results == (ids, [*before, *ids], tokenizer.decode(ids))


def check_tokenizer(model: LlamaVocabulary, tokenizer: Tokenizer, *, opens: bool = True) -> int:
    """Return how many texts llama.cpp encodes and decodes as the run's tokenizer does.

    Raises:
        Refused: one of them differs.
    """
    count = 0
    for text, same in compared(model, tokenizer, opens=opens):
        if not same:
            raise Refused(
                f"llama.cpp's tokenizer encodes or decodes {text[:40]!r} differently from the "
                "run's tokenizer: nothing was written",
                code="interop.gguf-tokenizer-differs",
            )
        count += 1
    return count
