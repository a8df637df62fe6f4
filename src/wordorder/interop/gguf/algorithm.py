"""Finds the algorithm of llama.cpp that tokenizes as a run's tokenizer does.

llama.cpp reads no tokenizer.json. It has algorithms of its own: byte-level BPE after splitting a
text by one of some fifty patterns, which it knows by the names of models, and SentencePiece's BPE.
wordorder's own tokenizers have a known one. For an imported tokenizer each candidate is tried on
texts that the patterns split differently and on every word of the vocabulary, and the first that
gives the same tokens is taken.

Not here: WordPiece and Unigram, whose models llama.cpp does not generate from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wordorder.errors import BadInput, Refused
from wordorder.interop.holders import KINDS
from wordorder.text.backends import SPELLINGS
from wordorder.text.tokenizer import Tokenizer

from .file import write_vocabulary
from .llama_cpp import LlamaVocabulary
from .tokenizer import BYTE_LEVEL, GPT2, OURS, SENTENCEPIECE, compared, steps_of

# llama.cpp's names of patterns, in the order in which they are tried: those of models that people
# fine-tune first, and one that splits numbers into digits before one that is alike but for these.
# Its other names are aliases of these patterns.
# Source: llama.cpp, src/llama-vocab.cpp, llama_vocab::impl::load.
PATTERNS = (
    *("qwen2", OURS, "llama-bpe", "smaug-bpe", "smollm", GPT2, "gpt-4o", "tekken", "starcoder"),
    *("deepseek-v3", "deepseek-llm", "deepseek-coder", "dbrx", "olmo", "stablelm2", "command-r"),
    *("refact", "falcon", "mpt", "minerva-7b", "superbpe", "exaone", "viking", "bloom"),
    *("poro-chat", "chatglm-bpe", "hunyuan", "kimi-k2", "seed-coder", "bailingmoe", "default"),
)
SENTENCEPIECE_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def algorithm_of(tokenizer: Tokenizer, file: Path) -> dict[str, Any]:
    """Return the metadata that chooses llama.cpp's algorithm, by keys after "tokenizer.ggml".

    Args:
        file: where files of a vocabulary may be written, one after another.

    Raises:
        BadInput: llama.cpp has no such kind of tokenizer: what to train with.
        Refused: none of its patterns splits text as this tokenizer does.
    """
    data = json.loads(tokenizer.backend.to_str())
    if tokenizer.kind in KINDS["gguf"].tokenizers:
        is_plain = data["pre_tokenizer"]["type"] == "ByteLevel"  # no effect on bytes
        pattern = GPT2 if is_plain and data["pre_tokenizer"]["use_regex"] else OURS
        return _byte_level(pattern)
    candidates = list(_candidates(data))
    if not candidates:
        kind = "characters" if tokenizer.kind == "characters" else data["model"]["type"]
        raise BadInput(
            f"llama.cpp does not hold the run's tokenizer ({kind}): it holds byte-level BPE and "
            "SentencePiece's BPE: train with --tokenizer bpe",
            code="interop.gguf-tokenizer-not-held",
        )
    return _first_equal(tokenizer, candidates, file)


def _candidates(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the algorithms that a tokenizer may have, from its JSON."""
    model = data["model"]
    if model["type"] != "BPE":
        return
    splits = _types(data["pre_tokenizer"], "pretokenizers")
    is_byte_level = _types(data["decoder"], "decoders") == ["ByteLevel"] and "ByteLevel" in splits
    # Without a token for each byte llama.cpp may end the process.
    if is_byte_level and model["vocab"].keys() >= {*SPELLINGS}:
        yield from map(_byte_level, PATTERNS)
    elif model["byte_fallback"] and model["vocab"].keys() >= {*SENTENCEPIECE_BYTES}:
        for adds_space in (True, False):
            yield {"model": SENTENCEPIECE, "pre": "default", "add_space_prefix": adds_space}


def _byte_level(pattern: str) -> dict[str, Any]:
    return {"model": BYTE_LEVEL, "pre": pattern, "add_space_prefix": False}


def _types(step: dict[str, Any] | None, parts: str) -> list[str]:
    """Return the type of a step, or of each part of a sequence of steps."""
    return [part["type"] for part in steps_of(step, parts)]


def _first_equal(
    tokenizer: Tokenizer, candidates: list[dict[str, Any]], file: Path
) -> dict[str, Any]:
    """Return the first candidate by which llama.cpp encodes and decodes every text as the run does.

    Raises:
        Refused: no candidate agrees; the message names the closest one and a text that differs.
    """
    write_vocabulary(file, tokenizer, candidates[0])
    differing: dict[tuple[int, str], dict[str, Any]] = {}
    for candidate in candidates:
        difference = _difference(file, tokenizer, candidate)
        if difference is None:
            return candidate
        differing.setdefault(difference, candidate)
    _, text = nearest = max(differing)
    raise Refused(
        "llama.cpp has no tokenizer that gives the same tokens as the run's: the closest "
        f"({_name(differing[nearest])}) differs on {text[:40]!r}: use wordorder export --to hf",
        code="interop.gguf-no-such-pattern",
    )


def _difference(
    file: Path, tokenizer: Tokenizer, candidate: dict[str, Any]
) -> tuple[int, str] | None:
    """Return how many texts are equal before one that differs, and that one; None if all are."""
    values = {f"tokenizer.ggml.{key}": candidate[key] for key in ("pre", "add_space_prefix")}
    try:
        with LlamaVocabulary(file, values) as theirs:
            for number, (text, same) in enumerate(compared(theirs, tokenizer)):
                if not same:
                    return number, text
    except Refused:  # this version of llama.cpp does not know the name
        return -1, ""
    return None


def _name(candidate: dict[str, Any]) -> str:
    """Return what to call a candidate in a message."""
    if candidate["model"] == BYTE_LEVEL:
        return f"byte-level BPE with the pattern {candidate['pre']}"
    space = "with" if candidate["add_space_prefix"] else "without"
    return f"SentencePiece's BPE {space} a space before a text"
