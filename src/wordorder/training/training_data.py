"""Reads the text of a run, and compares it with the record of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wordorder.errors import BadInput, Refused
from wordorder.positions import wants_task_positions
from wordorder.text.corpus import BUILT_IN, Corpus
from wordorder.text.data_names import mixture_of
from wordorder.text.load import load_corpus
from wordorder.text.sharded.folder import is_store
from wordorder.text.split_notes import described
from wordorder.text.store import TokenStore
from wordorder.text.tokenizer import Tokenizer
from wordorder.training.config import TrainConfig
from wordorder.training.mixed_data import read_mixture
from wordorder.training.stored_text import of_store
from wordorder.training.tokenized_text import MixedPart, TrainingData, of_corpus, template_of

__all__ = ["MixedPart", "TrainingData"]


def read_training_data(
    config: TrainConfig,
    tokenizer: Tokenizer | None = None,
    chat: Mapping[str, Any] | None = None,
) -> TrainingData:
    """Read the corpus, split it, create the tokenizer if needed, and tokenize every part.

    Data with weights are a mixture, whose texts are split one by one. A store that was prepared by
    `wordorder data --store` is already split and tokenized.

    Args:
        tokenizer: the tokenizer of the run that is resumed or fine-tuned; None creates the
            configured one.
        chat: the record of that run's chat template; None: it has none.

    Raises:
        BadInput: the data cannot be read, a part is shorter than one context, or the embedding
            takes its positions from a task.
    """
    check_takes_text(config)
    if mixture := mixture_of(config.data):
        return read_mixture(config, mixture, tokenizer, chat)
    if any(map(is_store, config.data)):
        if config.validation_data or config.development_data:
            raise BadInput(
                f"{config.data[0]} is a store of tokens, which was split when it was prepared: "
                "leave out --validation-data and --development-data",
                code="training.held-out-data-of-store",
            )
        return of_store(config, _only(config.data), tokenizer, chat)
    corpus = corpus_of(config)
    return of_corpus(config, corpus, tokenizer, template_of(config, corpus, chat))


def _only(data: Sequence[str]) -> str:
    """Return the only name in `data`.

    Raises:
        BadInput: there is more than one name.
    """
    if len(data) > 1:
        store = next(filter(is_store, data))
        raise BadInput(
            f"{store} is a store of tokens, and is read by itself or in a mixture: give each name "
            "a weight, such as NAME=0.5, or prepare all texts in one store",
            code="training.store-and-text",
        )
    return data[0]


def corpus_of(config: TrainConfig, load: Callable[..., Corpus] = load_corpus) -> Corpus:
    """Return the corpus of a configuration, its held-out data included.

    Args:
        load: as `load_corpus`; another one may keep texts that several runs share.
    """
    held_out = {"validation": config.validation_data, "development": config.development_data}
    return load(
        config.data,
        field=config.field,
        most_bytes=config.most_bytes,
        **{part: data for part, data in held_out.items() if data},
    )


def read_text(
    config: TrainConfig, tokenizer: Tokenizer | None = None, *, command: str
) -> TrainingData:
    """Read training data for a command that measures each token of a text.

    Raises:
        BadInput: as `read_training_data` does, or the data holds conversations, or is a mixture.
    """
    training_data = read_training_data(config, tokenizer)
    if training_data.template is not None:
        raise BadInput(
            f"{command} reads text, and {training_data.facts['name']} holds conversations: give "
            "text with --data",
            code="training.text-needed",
        )
    if training_data.parts:
        raise BadInput(
            f"{command} reads one text, and the data is a mixture: give it without weights",
            code="training.mixture-not-possible",
        )
    return training_data


def with_steps(config: TrainConfig, training_data: TrainingData) -> TrainConfig:
    """Return the configuration with a number of steps in place of one of epochs."""
    if config.epochs is None:
        return config
    of_a_step = training_data.batches(config).epoch(config.accumulate)
    steps = math.ceil(config.epochs / of_a_step - 1e-9)  # 3 / 0.1 is above 30
    return replace(config, steps=max(1, steps), epochs=None)


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
    parts = [
        (
            "part",
            f"{part['name']}: {part['weight']:.1%} of the tokens trained on, of "
            f"{part['training_tokens']:,} tokens",
        )
        for part in data.get("parts", ())
    ]
    return [*parts, ("validation", validation), ("development", development), *chat, *notes]


def check_same_text(folder: Path, recorded: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Check that the text of a run is the same, and split as when the run started.

    Args:
        folder: the run folder.
        recorded: the data in its `config.json`.
        facts: the data as read and split now.

    Raises:
        Refused: the text or the split differs, or the run is too old to have recorded it.
    """
    if recorded["content_hash"] != facts["content_hash"]:
        raise Refused(
            f"the text of {facts['name']} has changed since {folder} was trained on it: restore "
            "the old text, or add --inexact to resume with the new one",
            code="training.other-text",
        )
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


def check_takes_text(config: TrainConfig) -> None:
    """Check that the embedding can be trained on a text.

    Raises:
        BadInput: it takes its positions from a task.
    """
    if wants_task_positions(config.model.position):
        raise BadInput(
            f"--position {config.model.position} takes positions from a task, and a text provides "
            "none: use it with wordorder tasks --tasks addition-reversed",
            code="training.no-task-positions",
        )


def split_warning(recorded: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Return a warning if held-out text may be what the model was trained on, else "".

    This is the case if the text is the same in another split, or has the same name and has changed.

    Args:
        recorded: the data in the record of the model's run.
        facts: the data that it is to be trained or evaluated on.
    """
    if recorded["content_hash"] != facts["content_hash"]:
        if recorded.get("name") != facts["name"]:
            return ""
        return (
            f"{facts['name']} has changed since the model was trained on it, so some of the text "
            "held out now may have been trained on: its losses may be too low"
        )
    if recorded.get("split") == facts["split"]:
        return ""
    return (
        "the model was trained on this text with another split, so some of the text held out now "
        "was trained on: its losses are too low"
    )


def notes_on_text(recorded: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """Return notes for the user on the text that a model is fine-tuned on.

    The arguments are those of `split_warning`.
    """
    notes = []
    if warning := split_warning(recorded, facts):
        notes.append(warning)
    if facts["name"] == BUILT_IN != recorded.get("name"):
        notes.append(
            f"note: the text is {BUILT_IN}, the built-in default, but the model was trained on "
            "other text: to fine-tune on your own text, give it with --data"
        )
    return notes


def tokenizer_of(folder: Path) -> Tokenizer:
    """Return the tokenizer of a run folder."""
    return Tokenizer.load(folder / "tokenizer.json")
