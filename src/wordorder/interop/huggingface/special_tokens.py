"""The special tokens that a folder of transformers declares, and the one that ends its texts.

    tokenizer_config.json, special_tokens_map.json    names, by role
    generation_config.json, config.json               eos_token_id: where `generate` stops

Instruct models have several ends, of a turn and of a text. The one that the tokenizer calls
`eos_token` is the run's end of text, and generation stops at each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tokenizers

from wordorder.text.backends import ENDS_OF_TEXT
from wordorder.text.corpus import END_OF_TEXT
from wordorder.text.special_tokens import END, ENDS, ROLES, special_ids

from .weight_files import read_json

NAMES = ("tokenizer_config.json", "special_tokens_map.json")
IDS = ("generation_config.json", "config.json")


def declared_names(folder: Path) -> dict[str, str]:
    """Return the special tokens that a folder names, by role."""
    names = {}
    for file in reversed(NAMES):
        for role, token in _read(folder / file).items():
            token = token.get("content") if isinstance(token, dict) else token
            if role in ROLES and isinstance(token, str):
                names[role] = token
    return names


def splits_special_tokens(folder: Path) -> bool:
    """Return whether a folder's tokenizer splits text that spells a special token."""
    return _read(folder / NAMES[0]).get("split_special_tokens") is True


def declared_ends(folder: Path) -> list[int]:
    """Return the ids at which `generate` stops, from the first file that declares any."""
    for file in IDS:
        ids = _read(folder / file).get(ENDS)
        ids = ids if isinstance(ids, list) else [ids]
        if ids := [index for index in ids if type(index) is int and index >= 0]:
            return ids
    return []


def roles_of(folder: Path, stored: tokenizers.Tokenizer) -> dict[str, list[int]]:
    """Return the ids that a folder declares, by role; empty if no token ends its texts.

    If the folder names no special token, the roles are those found in its tokenizer.

    Args:
        stored: its tokenizer, as it is stored.
    """
    known = {role: stored.token_to_id(name) for role, name in declared_names(folder).items()}
    roles = {role: [index] for role, index in known.items() if index is not None}
    opening, closing = tokens_around(stored)
    ends = [index for index in declared_ends(folder) if stored.id_to_token(index) is not None]
    special = special_ids(stored)
    by_name = [stored.token_to_id(name) for name in ENDS_OF_TEXT]
    candidates = [
        *roles.get("eos_token", ()),
        *(index for index in ends if index in special),
        *roles.get("sep_token", ()),
        closing,
        *(index for index in by_name if index in special),
        *by_name,
    ]
    end = next((index for index in candidates if index is not None), None)
    if end is None:
        return {}
    if not roles:
        roles = {"bos_token": [opening]} if opening is not None else {}
        roles["eos_token"] = [end]
    return {**roles, END: [end], **({ENDS: ends} if ends else {})}


def beginning_of(stored: tokenizers.Tokenizer) -> str | None:
    """Return the token that begins texts if it may differ from the declared end; otherwise None.

    It is the token that the tokenizer adds there. If it adds none, texts begin with the token that
    ended the previous text in training: `<|endoftext|>`, even if an instruct model declares the end
    of a turn as its end.
    """
    opening, _ = tokens_around(stored)
    if opening is None and stored.token_to_id(END_OF_TEXT) in special_ids(stored):
        return END_OF_TEXT
    return None if opening is None else str(stored.id_to_token(opening))


def tokens_around(stored: tokenizers.Tokenizer) -> tuple[int | None, int | None]:
    """Return the special tokens that a tokenizer puts before and after a text; None if none."""
    ids, special = stored.encode("a").ids, special_ids(stored)
    if not ids:
        return None, None
    first, last = ((index if index in special else None) for index in (ids[0], ids[-1]))
    return first, last


def _read(path: Path) -> dict[str, Any]:
    """Return the values of a file; none if it is missing or not an object."""
    values = read_json(path) if path.is_file() else {}
    return values if isinstance(values, dict) else {}
