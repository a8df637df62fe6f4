"""The text of a run from a store on disk, which `wordorder data --store` has prepared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wordorder.errors import BadInput
from wordorder.text.backends import MASK
from wordorder.text.chat_template import ChatTemplate, JinjaTemplate, recorded_template
from wordorder.text.load import MOST_STREAMED, PLAIN_FIELD
from wordorder.text.sharded.folder import ShardedText, open_sharded
from wordorder.text.split_notes import PARTS
from wordorder.text.store import TokenStore, shortened
from wordorder.text.tokenizer import Tokenizer, custom_tokenizer
from wordorder.text.tokenizer_file import KINDS
from wordorder.text.user_text import printable
from wordorder.training.config import TrainConfig
from wordorder.training.tokenized_text import (
    TrainingData,
    check_chats,
    check_lengths,
    within_context,
)


def of_store(
    config: TrainConfig,
    name: str,
    tokenizer: Tokenizer | None,
    chat: Mapping[str, Any] | None,
) -> TrainingData:
    """Return the text of a store; its arrays are memory-mapped, so only pages read use memory.

    Args:
        name: the folder.
        tokenizer: of the run that is resumed or fine-tuned, or of other parts of a mixture; None:
            that of the store.
        chat: the record of that run's chat template; None: it has none.

    Raises:
        BadInput: the store is not finished, damaged, or was prepared with other options.
    """
    text = open_sharded(name)
    template = stored_template(config, text, chat)
    _check_split(config, text)
    tokenizer = stored_tokenizer(config, text, template, tokenizer)
    stores = {part: text.store(part, tokenizer) for part in PARTS}
    length = config.model.trained_length
    index, notes = text.index, _notes(config, text, tokenizer)
    development = stores["development"]
    if template is None and development is not None and len(development) <= length:
        development = None
        notes.append(
            f"the development part of the store is shorter than one context of {length} tokens, so "
            "nothing is chosen"
        )
    training, validation = stores["training"], stores["validation"]
    assert training is not None and validation is not None  # a split has both
    facts = {
        **{what: index[what] for what in ("name", "documents", "bytes", "content_hash")},
        "tokenizer": tokenizer.kind,
        "fitted_on": index["fitted_on"],
        "split": index["split"],
        "training_tokens": len(training),
        "development_tokens": 0 if development is None else len(development),
        "validation_tokens": len(validation),
        "notes": [*index["notes"], *notes],
        **({"chat": template.record()} if template else {}),
    }
    if config.checkpoint_at_words:
        facts["training_words"] = max(1, index["parts"]["training"]["words"])
    data = TrainingData(tokenizer, training, validation, facts, development, template)
    if template is not None:
        return within_context(data, length, index["name"])
    check_lengths(data, length, index["name"], ())
    return data


def stored_tokenizer(
    config: TrainConfig,
    text: ShardedText,
    template: ChatTemplate | None,
    tokenizer: Tokenizer | None = None,
) -> Tokenizer:
    """Return the tokenizer of a store, with a mask token if the objective needs one.

    Args:
        tokenizer: one that it must equal; None: the configured one.

    Raises:
        BadInput: the tokens of the store are those of another tokenizer.
    """
    stored = text.tokenizer
    if config.objective == "masked-token" and stored.mask is None:
        stored = stored.with_special((MASK,))
    place, remedy = printable(text.folder), "prepare its text again with --tokenizer"
    if tokenizer is not None:
        tokenizer = tokenizer.with_special(template.special_tokens if template else ())
        if tokenizer.content_hash not in (stored.content_hash, text.tokenizer.content_hash):
            raise BadInput(
                f"the store {place} was encoded by another tokenizer than that of the run, or of "
                f"the other parts of the mixture: {remedy} and the path of their tokenizer.json",
                code="training.store-other-tokenizer",
            )
        return tokenizer
    if config.tokenizer == "bpe" or config.tokenizer == stored.kind:
        return stored
    if config.tokenizer in KINDS:
        raise BadInput(
            f"the store {place} was encoded with --tokenizer {stored.kind}, not "
            f"{config.tokenizer}: leave it out, or {remedy} {config.tokenizer}",
            code="training.store-other-kind",
        )
    own = custom_tokenizer(config.tokenizer)
    own = own.with_special(template.special_tokens if template else ())
    if own.content_hash != text.tokenizer.content_hash:
        raise BadInput(
            f"the store {place} was encoded by another tokenizer than {config.tokenizer}: leave "
            f"--tokenizer out, or {remedy} {config.tokenizer}",
            code="training.store-other-tokenizer-option",
        )
    return stored


def validation_of(
    text: ShardedText,
    tokenizer: Tokenizer,
    run: str | Path,
    chat: Mapping[str, Any] | None,
    length: int,
) -> TokenStore:
    """Return the validation text of a store, for a run of the same tokenizer.

    Args:
        chat: the record of the run's chat template; None: it has none.
        length: the context to which conversations are cut.

    Raises:
        BadInput: the run has another tokenizer, or another template of conversations.
    """
    masked = text.tokenizer.with_special((MASK,))
    if tokenizer.content_hash not in (text.tokenizer.content_hash, masked.content_hash):
        raise BadInput(
            f"the store {printable(text.folder)} was encoded by another tokenizer than that of "
            f"{run}: give the text itself",
            code="training.store-of-other-tokenizer",
        )
    store = text.store("validation", tokenizer)
    assert store is not None  # a split has validation text
    if text.index["chat"] is None:
        return store
    if chat is not None:
        check_template(text, recorded_template(chat), str(run))
    return cut_to_context(store, tokenizer, text.index["name"], length)


def cut_to_context(store: TokenStore, tokenizer: Tokenizer, name: str, length: int) -> TokenStore:
    """Return conversations cut to a context of `length` tokens.

    Raises:
        BadInput: no answer is left in them.
    """
    store, _, _ = shortened(store, length, tokenizer)
    if not store.targets:
        raise BadInput(
            f"{name} has no answer within a context of {length:,} tokens: use a longer context",
            code="training.text-without-answers",
        )
    return store


def check_template(text: ShardedText, needed: ChatTemplate, of: str) -> None:
    """Check that a store has the template that is needed.

    Args:
        of: what needs it, for the message.

    Raises:
        BadInput: it has another one.
    """
    template = recorded_template(text.index["chat"])
    if template.content_hash != needed.content_hash:
        remedy = "give the text itself"
        if needed.name != JinjaTemplate.name:  # which no store can have
            remedy = f"prepare its text again with --chat-template {needed.name}, or {remedy}"
        raise BadInput(
            f"the conversations of the store {printable(text.folder)} are written by the template "
            f"{template.name}, and {of} needs {needed.name}: {remedy}",
            code="training.store-template-of-others",
        )


def stored_template(
    config: TrainConfig, text: ShardedText, chat: Mapping[str, Any] | None
) -> ChatTemplate | None:
    """Return the template by which the conversations of a store are written; None for text.

    Args:
        chat: the record of the template of the run that is fine-tuned or resumed.

    Raises:
        BadInput: another one is configured, or options do not go with conversations.
    """
    if text.index["chat"] is None:
        check_chats(config, text.index["name"], is_chat=False)
        return None
    check_chats(config, text.index["name"], is_chat=True)
    template = recorded_template(text.index["chat"])
    if config.chat_template not in ("auto", template.name):
        raise BadInput(
            f"the store {printable(text.folder)} was prepared with --chat-template "
            f"{template.name}: leave out --chat-template {config.chat_template}",
            code="training.store-other-template",
        )
    if chat is not None and config.chat_template == "auto":
        check_template(text, recorded_template(chat), "the run")
    return template


def _check_split(config: TrainConfig, text: ShardedText) -> None:
    for name in ("validation_fraction", "development_fraction"):
        fraction, stored = getattr(config, name), text.index["split"][name]
        if fraction not in (getattr(TrainConfig, name), stored):
            option = f"--{name.replace('_', '-')}"
            raise BadInput(
                f"the store {printable(text.folder)} was split with {option} {stored:g} when it "
                f"was prepared: leave out {option} {fraction:g}, or prepare its text again",
                code="training.store-other-split",
            )


def _notes(config: TrainConfig, text: ShardedText, tokenizer: Tokenizer) -> list[str]:
    """Return remarks on options that were decided when a store was prepared.

    Args:
        tokenizer: that of the store, with a mask token if the objective needs one.
    """
    options = {
        "--field": (config.field, PLAIN_FIELD),
        "--most-bytes": (config.most_bytes, MOST_STREAMED),
    }
    place, size = printable(text.folder), config.model.vocabulary_size
    notes = [
        f"{option} {value} has no effect: {place} is a store"
        for option, (value, default) in options.items()
        if value != default
    ]
    sizes = {
        type(config.model).vocabulary_size,
        text.index["config"]["vocabulary_size"],  # requested; its text may have had too few pairs
        text.tokenizer.vocabulary_size,
        tokenizer.vocabulary_size,
    }
    # With --init the size is that of the first run, which may lack the tokens of a template.
    if config.init is None and size not in sizes:
        notes.append(
            f"--vocabulary-size {size} has no effect: the store {place} was encoded with "
            f"{text.tokenizer.vocabulary_size:,} tokens"
        )
    return notes
