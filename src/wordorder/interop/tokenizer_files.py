"""A run's tokenizer in the files that other programs read, and the proof that they agree.

With special tokens, which is transformers' default, the token that begins texts comes first, as
where `wordorder generate` reads a prompt. Without them the ids are those of `Tokenizer.encode`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tokenizers
import torch

from wordorder.atomic import write_text
from wordorder.errors import BadInput, Refused
from wordorder.text.tokenizer import Tokenizer

SAMPLES = (
    "In the beginning was the word order.",
    "  two spaces, a tab\tand\n\nan empty line;   then 12345 + 67 = 12412\r\n",
    "def f(x):\n    return x[1:]  # naïve café, 東京, नमस्ते, 🙂👩‍🚀",
    "",
)
CHAT_TEMPLATE = "chat_template.jinja"
RANDOM_TEXTS, RANDOM_TOKENS = 8, 64


def write_tokenizer(
    folder: Path,
    tokenizer: Tokenizer,
    *,
    trained_length: int,
    fills_in: bool,
    chat_template: str | None = None,
) -> None:
    """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json.

    Args:
        fills_in: the model fills in hidden tokens: text that spells the mask token is the token.
        chat_template: in Jinja, for chat_template.jinja; it spells special tokens. None: none.
    """
    if chat_template is not None:
        write_text(folder / CHAT_TEMPLATE, chat_template)
    data = json.loads(tokenizer.backend.to_str())
    names = {index: token for token, index in tokenizer.backend.get_vocab().items()}
    end, beginning = names[tokenizer.end_of_text], tokenizer.beginning_of_text
    data["post_processor"] = _opening_with(names[beginning], beginning)
    special = {"bos_token": names[beginning], "eos_token": end, "pad_token": end}
    if tokenizer.mask is not None:
        special["mask_token"] = names[tokenizer.mask]
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **special,
        "model_max_length": trained_length,
        "model_input_names": ["input_ids", "attention_mask"],
        "padding_side": "right" if fills_in else "left",
        "clean_up_tokenization_spaces": False,
        # Text that spells a special token is characters, as wordorder reads it.
        "split_special_tokens": not fills_in and chat_template is None,
    }
    for name, value in (
        ("tokenizer.json", data),
        ("tokenizer_config.json", settings),
        ("special_tokens_map.json", special),
    ):
        write_text(folder / name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _opening_with(token: str, index: int) -> dict[str, Any]:
    """Return the post-processor that puts one token before a text."""
    special = {"SpecialToken": {"id": token, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in ("A", "B"))
    return {
        "type": "TemplateProcessing",
        "single": [special, first],
        "pair": [special, first, second],
        "special_tokens": {token: {"id": token, "ids": [index], "tokens": [token]}},
    }


def check_tokenizer_file(folder: Path, tokenizer: Tokenizer) -> int:
    """Return how many texts tokenizer.json encodes and decodes as the run's tokenizer does.

    Raises:
        Refused: one of them differs.
    """
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = list(sample_texts(tokenizer))
    for text, ids in texts:
        encoded = theirs.encode(text).ids
        opened = [tokenizer.beginning_of_text, *ids]
        if encoded != opened or theirs.decode(ids) != tokenizer.decode(ids):
            raise Refused(
                f"tokenizer.json encodes or decodes {text[:40]!r} differently from the run's "
                "tokenizer: nothing was written",
                code="interop.tokenizer-file-differs",
            )
    return len(texts)


def sample_texts(tokenizer: Tokenizer) -> Iterator[tuple[str, list[int]]]:
    """Yield sample texts with their ids: those that can be encoded, and some of random tokens."""
    generator = torch.Generator().manual_seed(0)
    shape = (RANDOM_TEXTS, RANDOM_TOKENS)
    rows = torch.randint(tokenizer.vocabulary_size, shape, generator=generator).tolist()
    for text in (*SAMPLES, *(tokenizer.decode(row) for row in rows)):
        try:
            yield text, tokenizer.encode(text)
        except BadInput:  # a character that the run's tokenizer does not know
            continue
