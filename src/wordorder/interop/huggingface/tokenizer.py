"""Tokenizers of transformers' folders: read as a run's, and compared with what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from wordorder.errors import BadInput, Refused
from wordorder.interop import chat_templates
from wordorder.interop.tokenizer_files import (
    CHAT_TEMPLATE,
    encoded,
    sample_texts,
    singly_and_paired,
)
from wordorder.numerals import first_of
from wordorder.text.chat_template import JinjaTemplate
from wordorder.text.special_tokens import END, ENDS, declare, make_special
from wordorder.text.tokenizer import Tokenizer
from wordorder.text.tokenizer_file import read_backend
from wordorder.training.run import Run

from .special_tokens import NAMES, beginning_of, declared_names, roles_of
from .weight_files import read_json


def read_tokenizer(folder: Path, rows: int) -> tuple[Tokenizer, tuple[str, ...]]:
    """Return the tokenizer of a folder for a model with a table of so many tokens.

    Tables often have more rows than the tokenizer has tokens; each of these gets a token without
    text, so that the run's tokenizer and its model have as many.

    It declares the special tokens of the folder (`text.special_tokens`), which become special where
    they were not, as transformers makes them when it loads a tokenizer. Added tokens that the table
    has no row for, such as Gemma 3's for images, are left out.

    Returns:
        The tokenizer, and remarks.

    Raises:
        BadInput: tokenizer.json is missing or damaged, has more tokens than the table, or no token
            ends a text.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise BadInput(
            f"{folder} has no tokenizer.json: write it with "
            "AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)",
            code="interop.no-tokenizer",
        )
    backend, notes = _without_tokens_past(rows, read_backend(path))
    backend.no_truncation()
    backend.no_padding()
    beginning, roles = beginning_of(backend), roles_of(folder, backend)
    if END not in roles:
        raise BadInput(
            f"{path} has no token that ends a text: name one as eos_token in {folder / NAMES[0]}",
            code="interop.no-end-of-text",
        )
    ids = set(backend.get_vocab(with_added_tokens=True).values())
    added = max(ids) + 1
    if added > rows:
        raise BadInput(
            f"{path} has {added:,} tokens, but the model has {rows:,}: it is the tokenizer of "
            "another model",
            code="interop.tokenizer-does-not-fit",
        )
    named = [ids[0] for role, ids in roles.items() if role != ENDS]
    others = [index for index in roles.get(ENDS, ()) if index in backend.get_added_tokens_decoder()]
    make_special(backend, [*named, *others])
    declare(backend, roles)
    names = [f"<|unused {i}|>" for i in range(added, rows)]
    backend.add_special_tokens([AddedToken(n, special=True, normalized=False) for n in names])
    padded = Tokenizer(backend, beginning)
    if padded.vocabulary_size != rows:
        gaps = sorted(set(range(added)) - ids)
        raise BadInput(
            f"{path} cannot be imported: "
            + (f"no token has the id {gaps[0]}" if gaps else "it has tokens named <|unused N|>"),
            code="interop.unused-tokens",
        )
    return padded, notes


def _without_tokens_past(rows: int, backend: Backend) -> tuple[Backend, tuple[str, ...]]:
    """Return a tokenizer without the added tokens that a table has no row for, and a remark."""
    stored = json.loads(backend.to_str())
    kept = [token for token in stored["added_tokens"] if token["id"] < rows]
    left_out = [token["content"] for token in stored["added_tokens"] if token["id"] >= rows]
    if not left_out or backend.get_vocab_size(with_added_tokens=False) > rows:
        return backend, ()
    note = f"tokens that the model has no row for are left out: {first_of(left_out, 3)}"
    return Backend.from_str(json.dumps({**stored, "added_tokens": kept})), (note,)


def read_chat_template(
    folder: Path, tokenizer: Tokenizer
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """Return the record of the chat template in a folder, and remarks.

    The template is in chat_template.jinja, or in tokenizer_config.json; None if there is none, or
    if it fails.
    """
    path, settings = folder / "tokenizer_config.json", {}
    if path.is_file() and isinstance(stored := read_json(path), dict):
        settings = stored
    source = settings.get("chat_template")
    if (file := folder / CHAT_TEMPLATE).is_file():
        try:
            source = file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            return None, (f"{CHAT_TEMPLATE} is not UTF-8, and is left out",)
    if isinstance(source, list):  # several by name
        source = next((t["template"] for t in source if t.get("name") == "default"), None)
    if not isinstance(source, str):
        return None, ()
    names = [str(tokenizer.backend.id_to_token(index)) for index in tokenizer.special_ids]
    special = [name for name in names if not name.startswith("<|unused ")]
    try:
        return JinjaTemplate(source, special, declared_names(folder)).record(), ()
    except BadInput as error:
        return None, (str(error),)


def check_tokenizer(folder: Path, run: Run, *, has_code: bool = False) -> int:
    """Return how many texts AutoTokenizer encodes and decodes as the run's tokenizer does.

    Args:
        has_code: the folder has a modelling file, whose configuration AutoTokenizer reads.

    Raises:
        Refused: one of them differs.
    """
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=has_code
    )
    texts = list(sample_texts(run.tokenizer))
    for text, ids in texts:
        plain = theirs(text, add_special_tokens=False)["input_ids"]
        same = all(
            theirs(*given)["input_ids"] == encoded(run, *given) for given in singly_and_paired(text)
        )
        decoded = theirs.decode(ids, skip_special_tokens=True)
        if not same or (plain, decoded) != (ids, run.tokenizer.decode(ids)):
            raise Refused(
                f"transformers' tokenizer encodes or decodes {text[:40]!r} differently from the "
                "run's tokenizer: nothing was written",
                code="interop.tokenizer-differs",
            )
    return len(texts)


def chat_template_differs(folder: Path, run: Run, *, has_code: bool = False) -> bool:
    """Return whether `apply_chat_template` gives other tokens than the run's own template."""
    from jinja2 import TemplateError
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=has_code
    )

    def ids(messages: list[dict[str, str]], answering: bool) -> Any:
        encoding: Any = theirs.apply_chat_template(
            messages, add_generation_prompt=answering, return_dict=True
        )
        return encoding["input_ids"]

    try:
        return any(
            ids(messages, answering) != expected
            for messages, answering, expected in chat_templates.samples(run)
        )
    except (TemplateError, ValueError):
        return True
