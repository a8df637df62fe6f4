"""The text of a run from a store on disk, which `wordorder data --store` has prepared."""

from __future__ import annotations

from pathlib import Path

from wordorder.errors import BadInput
from wordorder.text.backends import MASK
from wordorder.text.chat_template import ChatTemplate, recorded_template
from wordorder.text.load import MOST_STREAMED, PLAIN_FIELD
from wordorder.text.sharded.folder import ShardedText, open_sharded
from wordorder.text.split_notes import PARTS
from wordorder.text.store import TokenStore
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


def of_store(config: TrainConfig, name: str, tokenizer: Tokenizer | None) -> TrainingData:
    """Return the text of a store; its arrays are memory-mapped, so only pages read use memory.

    Args:
        name: the folder.
        tokenizer: of the run that is resumed or fine-tuned, or of other parts of a mixture; None:
            that of the store.

    Raises:
        BadInput: the store is not finished, damaged, or was prepared with other options.
    """
    text = open_sharded(name)
    template = stored_template(config, text)
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
    if custom_tokenizer(config.tokenizer).content_hash != text.tokenizer.content_hash:
        raise BadInput(
            f"the store {place} was encoded by another tokenizer than {config.tokenizer}: leave "
            f"--tokenizer out, or {remedy} {config.tokenizer}",
            code="training.store-other-tokenizer-option",
        )
    return stored


def validation_of(text: ShardedText, tokenizer: Tokenizer, run: str | Path) -> TokenStore:
    """Return the validation text of a store, for a run of the same tokenizer.

    Raises:
        BadInput: the run has another tokenizer.
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
    return store


def stored_template(config: TrainConfig, text: ShardedText) -> ChatTemplate | None:
    """Return the template by which the conversations of a store are written; None for text.

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
