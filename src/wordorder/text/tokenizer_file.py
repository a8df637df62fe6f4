"""Reads a tokenizer.json: as it is, with a token that ends texts, or as a user's own."""

from __future__ import annotations

from pathlib import Path

import tokenizers

from wordorder.errors import BadInput
from wordorder.text.backends import ENDS_OF_TEXT, add_special
from wordorder.text.hub_files import downloaded, is_on_hub
from wordorder.text.special_tokens import END, declare, declared, make_special, special_ids
from wordorder.text.user_text import user_path

KINDS = ("bpe", "bytes", "characters")
TOKENIZER = "tokenizer.json"


def read_backend(path: str | Path) -> tokenizers.Tokenizer:
    """Return the backend in a tokenizer.json as it is.

    Args:
        path: the file, a folder with one, or `hf:NAME` for one on the Hugging Face Hub.

    Raises:
        BadInput: the file is missing or damaged, or cannot be downloaded.
    """
    if is_on_hub(path):
        name, path = str(path), downloaded(str(path), [TOKENIZER]) / TOKENIZER
        if not path.is_file():
            raise BadInput(
                f"{name} has no {TOKENIZER}: load it with transformers' AutoTokenizer, which may "
                "convert what it has, and give the folder that save_pretrained writes",
                code="text.hub-no-tokenizer",
            )
    path = user_path(path)
    path = path / TOKENIZER if path.is_dir() else path
    if not path.is_file():
        raise BadInput(
            f"no tokenizer file {path}: give the path of a tokenizer.json, "
            f"hf:NAME, or one of {', '.join(KINDS)}",
            code="text.no-tokenizer-file",
        )
    try:
        return tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8-sig"))
    except Exception as error:  # the library raises plain Exception for every fault
        raise BadInput(
            f"cannot read {path} as a tokenizer.json: {error}", code="text.damaged-tokenizer"
        ) from None


def ending_backend(path: str | Path) -> tokenizers.Tokenizer:
    """Return the backend in a file, with a token that ends texts; errors as in `read_backend`."""
    backend = read_backend(path)
    if END not in declared(backend):
        add_special(backend, ENDS_OF_TEXT)
    return backend


def custom_backend(path: str | Path) -> tokenizers.Tokenizer:
    """Return the backend in a user's file, whose text never spells the token that ends texts.

    The first token with a known name may be ordinary text, as HTML's `</s>` is beside `<eos>`:
    then a special one is declared. Errors as in `read_backend`.
    """
    backend = ending_backend(path)
    if END in declared(backend):
        return backend
    known = [i for i in map(backend.token_to_id, ENDS_OF_TEXT) if i is not None]
    special = special_ids(backend)
    end = next((index for index in known if index in special), known[0])
    make_special(backend, [end])
    if end != known[0]:
        declare(backend, {END: [end]})
    return backend
