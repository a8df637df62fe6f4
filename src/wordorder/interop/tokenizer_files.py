"""A run's tokenizer in the files that other programs read, and a check that they agree.

With special tokens (the default of transformers) a text begins with the token that
`wordorder generate` puts before a prompt; a text of an imported run gets the tokens that its own
tokenizer puts around it. Without special tokens the ids are those of `Tokenizer.encode`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tokenizers
import torch

from wordorder.atomic import write_text
from wordorder.errors import BadInput, Refused
from wordorder.text.special_tokens import ROLES, own_post_processor
from wordorder.text.tokenizer import Tokenizer
from wordorder.training.run import Run

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
    run: Run,
    *,
    trained_length: int,
    chat_template: str | None = None,
) -> None:
    """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json.

    Args:
        chat_template: in Jinja, for chat_template.jinja; it spells special tokens. None: none.
    """
    tokenizer, fills_in = run.tokenizer, run.fills_in
    if chat_template is not None:
        write_text(folder / CHAT_TEMPLATE, chat_template)
    data = json.loads(tokenizer.backend.to_str())
    # For hidden tokens and conversations, text that spells a special token is that token.
    splits_special = not fills_in and chat_template is None
    if is_as_read(run):
        data["post_processor"] = own_post_processor(data["post_processor"])
        splits_special = (run.imported or {}).get("splits_special_tokens", False)
    else:
        first = tokenizer.beginning_of_text
        name = str(tokenizer.backend.id_to_token(first))
        data["post_processor"] = _opening_with(name, first)
    special = special_names(run)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **special,
        "model_max_length": trained_length,
        "model_input_names": ["input_ids", "attention_mask"],
        "padding_side": "right" if fills_in else "left",
        "clean_up_tokenization_spaces": False,
        # Text that spells a special token is encoded as characters, as in wordorder. For an
        # imported run this is as its original folder says.
        "split_special_tokens": splits_special,
    }
    for name, value in (
        ("tokenizer.json", data),
        ("tokenizer_config.json", settings),
        ("special_tokens_map.json", special),
    ):
        write_text(folder / name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def is_as_read(run: Run) -> bool:
    """Return whether the tokenizer's own post-processor and special tokens are written.

    Runs that were imported before tokenizers declared these are written as trained ones are.
    """
    return run.imported is not None and bool(run.tokenizer.roles)


def special_names(run: Run) -> dict[str, str]:
    """Return the special tokens of tokenizer_config.json, by transformers' names."""
    tokenizer = run.tokenizer
    roles = dict(tokenizer.roles)
    if not is_as_read(run):
        roles["bos_token"] = tokenizer.beginning_of_text
        roles["eos_token"] = tokenizer.end_of_text
        roles["pad_token"] = padding(tokenizer)
        if tokenizer.mask is not None:
            roles["mask_token"] = tokenizer.mask
    name = tokenizer.backend.id_to_token
    return {role: str(name(roles[role])) for role in ROLES if role in roles}


def tokenizer_sentence(run: Run) -> str:
    """Return what a model card says of the tokens around a text."""
    if is_as_read(run):
        return "The tokenizer puts the same tokens around a text as the one that was imported."
    first = run.tokenizer.backend.id_to_token(run.tokenizer.beginning_of_text)
    return f"The tokenizer puts `{first}` before a text, as wordorder does."


def singly_and_paired(text: str) -> tuple[tuple[str, ...], ...]:
    """Return a text alone, and as a pair unless it is empty, which transformers takes for none."""
    return ((text,), (text, text)) if text else ((text,),)


def beginning(run: Run) -> int:
    """Return the token that config.json says begins texts."""
    begins = run.tokenizer.beginning_of_text
    return run.tokenizer.roles.get("bos_token", begins) if is_as_read(run) else begins


def padding(tokenizer: Tokenizer) -> int:
    """Return the token that pads batches: the one that the tokenizer declares, or the end."""
    return tokenizer.roles.get("pad_token", tokenizer.end_of_text)


def encoded(run: Run, *texts: str) -> list[int]:
    """Return the ids of a text, or of a pair, with the special tokens that an export adds.

    Raises:
        BadInput: the tokenizer cannot encode a text.
    """
    if is_as_read(run):
        return _whole(run.tokenizer.backend, texts)
    rows = [run.tokenizer.encode(text) for text in texts]
    return [run.tokenizer.beginning_of_text, *(index for row in rows for index in row)]


def _whole(backend: tokenizers.Tokenizer, texts: Sequence[str]) -> list[int]:
    """Return the ids of a text or a pair, with special tokens."""
    ids: list[int] = backend.encode(texts[0], texts[1] if len(texts) > 1 else None).ids
    return ids


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


def check_tokenizer_file(folder: Path, run: Run) -> int:
    """Return how many texts tokenizer.json encodes and decodes as the run's tokenizer does.

    Raises:
        Refused: one of them differs.
    """
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = list(sample_texts(run.tokenizer))
    for text, ids in texts:
        same = all(
            _whole(theirs, given) == encoded(run, *given) for given in singly_and_paired(text)
        )
        if not same or theirs.decode(ids) != run.tokenizer.decode(ids):
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
