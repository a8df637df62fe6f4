"""Reads, splits and tokenizes the text of a run.

The text is split first, so that the tokenizer and the weights are fitted on the training part only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wordorder.errors import BadInput, Refused
from wordorder.numerals import counted
from wordorder.text.batches import Batches
from wordorder.text.chat_template import ChatTemplate, template_for
from wordorder.text.corpus import Corpus
from wordorder.text.load import load_corpus
from wordorder.text.split import PARTS, described, split_corpus
from wordorder.text.store import TokenStore, open_store, shortened
from wordorder.text.tokenizer import Tokenizer, make_tokenizer
from wordorder.training.config import TrainConfig

# For the plan. An alphabet is not fitted: it only says which characters occur.
FITTED_ON = {
    "bpe": "merges learnt from the training text alone",
    "characters": "the alphabet of the whole text",
}


@dataclass(frozen=True)
class TrainingData:
    """The tokenizer and the token stores of the parts of a split.

    Args:
        tokenizer: the tokenizer.
        training: tokens for fitting the weights.
        validation: tokens for the reported loss; they must not choose anything.
        facts: the description of the data in `config.json`.
        development: tokens for choosing; None: nothing is chosen.
        template: how conversations are written; None for text.
    """

    tokenizer: Tokenizer
    training: TokenStore
    validation: TokenStore
    facts: dict[str, Any]
    development: TokenStore | None = None
    template: ChatTemplate | None = None

    def batches(self, config: TrainConfig) -> Batches:
        """Return the training batches of a configuration."""
        return Batches(
            self.training,
            context_length=config.model.trained_length,
            batch_size=config.batch_size,
            seed=config.seed,
            isolate_documents=config.isolate_documents,
            objective=config.objective,
            mask_id=self.tokenizer.mask,
        )


def read_training_data(
    config: TrainConfig,
    tokenizer: Tokenizer | None = None,
    chat: Mapping[str, Any] | None = None,
) -> TrainingData:
    """Read the corpus, split it, create the tokenizer if needed, and tokenize every part.

    A development part shorter than one context is added to the training part, with a note.

    Args:
        tokenizer: the tokenizer of the run that is resumed or fine-tuned; None creates the
            configured one.
        chat: the record of that run's chat template; None: it has none.

    Raises:
        BadInput: the data cannot be read, or a part is shorter than one context.
    """
    corpus = load_corpus(config.data, field=config.field)
    template = _template(config, corpus, chat)
    try:
        training_data, notes = _training_data(
            config, corpus, config.development_fraction, tokenizer, template
        )
    except BadInput as error:
        if tokenizer is None or config.init is None:
            raise
        raise BadInput(
            f"the tokenizer of --init {config.init}: {error}", code="training.init-not-encoded"
        ) from None
    length = config.model.trained_length
    if template is not None:
        return _within_context(training_data, length, corpus.name)
    too_short = training_data.development is not None and len(training_data.development) <= length
    if too_short:
        training_data, notes = _training_data(config, corpus, 0.0, tokenizer, None)
    parts = {"training": training_data.training, "validation": training_data.validation}
    shortest = min(map(len, parts.values()))
    for name, store in parts.items():
        if len(store) <= length:
            copies = "".join(f" ({note})" for note in notes)
            or_shorter = f", or --trained-length {shortest - 1} or less" if shortest > 1 else ""
            raise BadInput(
                f"the {name} part of {corpus.name} has {counted(len(store), 'token')}, fewer than "
                f"one context of {length} and the token after it{copies}: "
                f"give more text{or_shorter}",
                code="training.part-too-short",
            )
    if too_short:
        training_data.facts["notes"].append(
            f"{100 * config.development_fraction:g}% of the text is shorter than one context of "
            f"{length} tokens, so there is no development part and nothing is chosen"
        )
    return training_data


def read_text(
    config: TrainConfig, tokenizer: Tokenizer | None = None, *, command: str
) -> TrainingData:
    """Read training data for a command that measures each token of a text.

    Raises:
        BadInput: as `read_training_data` does, or the data holds conversations.
    """
    training_data = read_training_data(config, tokenizer)
    if training_data.template is not None:
        raise BadInput(
            f"{command} reads text, and {training_data.facts['name']} holds conversations: give "
            "text with --data",
            code="training.text-needed",
        )
    return training_data


def _template(
    config: TrainConfig, corpus: Corpus, chat: Mapping[str, Any] | None
) -> ChatTemplate | None:
    """Return the template of a corpus of conversations; None for text.

    Raises:
        BadInput: an option does not go with conversations, or needs them.
    """
    if not corpus.is_chat:
        if config.chat_template != "auto":
            raise BadInput(
                f"--chat-template {config.chat_template} needs conversations, and {corpus.name} is "
                "text: give rows with messages, or with a prompt and an answer",
                code="training.chat-template-without-chats",
            )
        return None
    if config.objective != "next-token":
        raise BadInput(
            f"{corpus.name} holds conversations, whose answers are predicted token by token: leave "
            f"out --objective {config.objective}",
            code="training.chat-objective",
        )
    if config.model.kind == "gru":
        raise BadInput(
            f"{corpus.name} holds conversations, which a GRU cannot separate when they are packed: "
            "use --model transformer",
            code="training.chat-gru",
        )
    return template_for(corpus, config.chat_template, chat)


def _within_context(training_data: TrainingData, length: int, name: str) -> TrainingData:
    """Return conversations cut to the context length, with a note that counts the cut ones.

    Raises:
        BadInput: a part has no answer within the context.
    """
    tokenizer, parts = training_data.tokenizer, {}
    total = cut = left_out = 0
    for part in PARTS:
        if (store := getattr(training_data, part)) is None:
            continue
        total += len(store.starts)
        parts[part], cut_here, left_out_here = shortened(store, length, tokenizer)
        cut, left_out = cut + cut_here, left_out + left_out_here
        if not parts[part].targets:
            raise BadInput(
                f"the {part} part of {name} has no answer within one context of {length:,} tokens: "
                "use a longer --trained-length, or give more conversations",
                code="training.no-answer-in-context",
            )
    facts = training_data.facts
    for part, store in parts.items():
        facts[f"{part}_tokens"] = len(store)
    if cut:
        facts["notes"].append(
            f"{cut:,} of {total:,} conversations are longer than one context of {length:,} tokens, "
            "and their ends are cut"
        )
    if left_out:
        facts["notes"].append(
            f"{left_out:,} of {total:,} conversations have no answer within one context of "
            f"{length:,} tokens, and are left out"
        )
    facts["chat"]["answer_tokens"] = parts["training"].targets
    return replace(training_data, **parts)


def _training_data(
    config: TrainConfig,
    corpus: Corpus,
    development_fraction: float,
    tokenizer: Tokenizer | None,
    template: ChatTemplate | None,
) -> tuple[TrainingData, tuple[str, ...]]:
    """Return the training data, its parts of any length, and notes about the split."""
    split = split_corpus(corpus, config.validation_fraction, development_fraction)
    fitted_on = requested_size = None
    special_tokens = template.special_tokens if template else ()
    if tokenizer is not None:
        tokenizer = tokenizer.with_special(special_tokens)
    else:
        requested_size = config.model.vocabulary_size if config.tokenizer == "bpe" else None
        tokenizer = make_tokenizer(
            config.tokenizer,
            split.training,
            config.model.vocabulary_size,
            alphabet=corpus,
            mask=config.objective == "masked-token",
            special_tokens=special_tokens,
        )
        fitted_on = FITTED_ON.get(config.tokenizer)
    training, development, validation = (
        part and open_store(part, tokenizer, template)
        for part in (split.training, split.development, split.validation)
    )
    counted_words = {}
    if config.checkpoint_at_words:
        words = sum(len(document.text.split()) for document in split.training.documents)
        counted_words = {"training_words": max(1, words)}
    facts = {
        "name": corpus.name,
        "documents": len(corpus.documents),
        "bytes": corpus.bytes,
        "content_hash": corpus.content_hash,
        "tokenizer": tokenizer.kind,
        "fitted_on": fitted_on,
        "split": split.facts,
        "training_tokens": len(training),
        **counted_words,
        "development_tokens": 0 if development is None else len(development),
        "validation_tokens": len(validation),
        "notes": [*corpus.notes, *split.notes, *tokenizer.notes(split.training, requested_size)],
        **({"chat": template.record()} if template else {}),
    }
    training_data = TrainingData(tokenizer, training, validation, facts, development, template)
    return training_data, tuple(split.notes)


def held_out_rows(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the held-out parts and the notes as (name, value) rows of a plan.

    Args:
        data: `TrainingData.facts`.
    """
    validation, development = map(described(data["split"]).get, ("validation", "development"))
    if data["development_tokens"]:
        validation = f"{validation}; read only at the end"
        development = f"{data['development_tokens']:,} tokens: {development}; read while training"
    notes = [("note", note) for note in data["notes"]]
    chat = []
    if "chat" in data:
        counts = f"{data['chat']['answer_tokens']:,} of {data['training_tokens']:,} tokens"
        template = data["chat"]["template"]
        chat = [("chat", f"template {template}; the loss is on answers alone, {counts}")]
    return [("validation", validation), ("development", development), *chat, *notes]


def check_same_split(folder: Path, recorded: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Check that the text of a run is split as when the run started.

    Args:
        folder: the run folder.
        recorded: the data in its `config.json`.
        facts: the data as split now.

    Raises:
        Refused: the split differs, or the run is too old to have recorded it.
    """
    if recorded.get("split") != facts["split"]:
        raise Refused(
            f"{folder} was trained with another split of its text than this version makes, so its "
            "held-out text may be trained on now: train it again, or add --inexact to resume it "
            "anyway",
            code="training.other-split",
        )


def choosing_text(training_data: TrainingData) -> TokenStore:
    """Return the development text, or the validation text if there is none.

    Training data that is not text, and old runs, have no development part.
    """
    return getattr(training_data, "development", None) or training_data.validation


def split_warning(recorded: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Return a warning if a model continues with the same text in another split, else "".

    Args:
        recorded: the data in the record of the model's run.
        facts: the data that it is to be trained or evaluated on.
    """
    same_text = recorded["content_hash"] == facts["content_hash"]
    if not same_text or recorded.get("split") == facts["split"]:
        return ""
    return (
        "the model was trained on this text with another split, so some of the text held out now "
        "was trained on: its losses are too low"
    )


def tokenizer_of(folder: Path) -> Tokenizer:
    """Return the tokenizer of a run folder."""
    return Tokenizer.load(folder / "tokenizer.json")
