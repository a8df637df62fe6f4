"""The roles of special tokens, which the tokenizer.json of an imported run declares.

tokenizer.json has no field for them: transformers keeps them in tokenizer_config.json and
config.json. A run keeps them in its tokenizer.json, so that every copy of the file has them: in the
special-token table of a post-processor that adds no token and precedes the tokenizer's own. Other
programs use such a table only for tokens that a template names.

    {"type": "Sequence", "processors": [
        {"type": "TemplateProcessing", "single": A, "pair": A B,
         "special_tokens": {"wordorder.end_of_text": {"ids": [1], "tokens": ["<eos>"], ...}, ...}},
        the tokenizer's own]}

Tokenizers that were not imported declare nothing: their special tokens are known by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import tokenizers
from tokenizers import AddedToken, processors

# transformers' names. A tokenizer has at most one token of each.
ROLES = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
END = "end_of_text"  # a role of its own: BERT's [SEP] ends texts and is no eos_token
ENDS = "eos_token_id"  # every token at which generation stops, as in generation_config.json
PREFIX = "wordorder."  # no token has such a name


def declare(backend: tokenizers.Tokenizer, roles: Mapping[str, Sequence[int]]) -> None:
    """Let a tokenizer declare the ids of special tokens, instead of what it declared before.

    Args:
        roles: ids by names of `ROLES`, END or ENDS.
    """
    table = [
        {
            "id": PREFIX + role,
            "ids": list(ids),
            "tokens": [str(backend.id_to_token(index)) for index in ids],
        }
        for role, ids in roles.items()
    ]
    declaration = processors.TemplateProcessing(single="$A", pair="$A $B:1", special_tokens=table)
    if declared(backend):
        data = json.loads(backend.to_str())
        data["post_processor"] = own_post_processor(data["post_processor"])
        backend.post_processor = tokenizers.Tokenizer.from_str(json.dumps(data)).post_processor
    own = backend.post_processor
    backend.post_processor = declaration if own is None else processors.Sequence([declaration, own])


def declared(backend: tokenizers.Tokenizer) -> dict[str, list[int]]:
    """Return the ids that a tokenizer declares, by role; empty if it declares none."""
    if backend.post_processor is None:
        return {}
    table = _table(json.loads(backend.post_processor.__getstate__()))
    return {role.removeprefix(PREFIX): entry["ids"] for role, entry in table.items()}


def own_post_processor(data: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a post-processor without the declaration, as data."""
    if data is None or not _table(data):
        return data
    after: list[dict[str, Any]] = data.get("processors", [])[1:]  # nested ones are flattened
    if len(after) > 1:
        return {**data, "processors": after}
    return after[0] if after else None


def special_ids(backend: tokenizers.Tokenizer) -> list[int]:
    """Return the ids of special tokens, which have no text."""
    return [i for i, token in backend.get_added_tokens_decoder().items() if token.special]


def make_special(backend: tokenizers.Tokenizer, ids: Sequence[int]) -> None:
    """Make tokens special; text that spells one is still encoded as ordinary characters."""
    added = backend.get_added_tokens_decoder()
    for index in ids:
        token = added.get(index)
        if token is None:
            token = AddedToken(backend.id_to_token(index), normalized=False)
        if not token.special:
            token.special = True
            backend.add_special_tokens([token])


def _table(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the declaration in a post-processor; empty without one."""
    first = next(iter(data.get("processors", ())), data)
    table = first.get("special_tokens") if first.get("type") == "TemplateProcessing" else None
    return {name: entry for name, entry in (table or {}).items() if name.startswith(PREFIX)}
