"""Loads the text for evaluating a run: the given data, or the validation text of the run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wordorder.errors import BadInput
from wordorder.text.chat_template import template_for
from wordorder.text.corpus import Corpus
from wordorder.text.data_names import mixture_of
from wordorder.text.load import load_corpus
from wordorder.text.sharded.folder import is_store, open_sharded
from wordorder.text.split import split_corpus
from wordorder.text.store import TokenStore, joined, open_store
from wordorder.training.config import TrainConfig
from wordorder.training.moved_text import check_not_moved, resuming
from wordorder.training.recorded import naming_damage, read_recorded
from wordorder.training.run import Run
from wordorder.training.stored_text import cut_to_context, validation_of
from wordorder.training.training_data import corpus_of, read_training_data


def text_of(
    run: Run,
    data: Sequence[str],
    field: str,
    length: int | None = None,
    *,
    load: Callable[..., Corpus] = load_corpus,
) -> tuple[str, TokenStore]:
    """Return the name and the tokens of a text.

    Args:
        data: files, folders, python-docs or hf:NAME; a store, for its validation text; empty: the
            run's validation text.
        field: column of tables and datasets that holds the text.
        length: the context to which conversations are cut; None: the trained length.
        load: as `load_corpus`; another one may keep texts that several runs share.

    Raises:
        BadInput: `data` is empty, and the run was imported, or its text or split has changed.
    """
    if len(data) == 1 and is_store(data[0]):
        text = open_sharded(data[0])
        most = length or run.model_config.trained_length
        store = validation_of(text, run.tokenizer, run.folder, run.chat, most)
        return f"{text.index['name']} (validation)", store
    if data:
        corpus = load(data, field=field)
        for note in corpus.notes:
            print(f"note: {note}", file=sys.stderr)
        return corpus.name, _store(run, corpus, length)
    run.check_has_text()
    recorded = read_recorded(run.folder, "training", "data")["data"]
    with naming_damage(run.folder / "config.json"):
        config = TrainConfig.from_dict(run.config["training"], run.model_config)
    remedy = f"let the run record where it is: {resuming(run.folder)}; or give any text with --data"
    check_not_moved(config, run.folder, remedy)
    if mixture_of(config.data) or is_store(config.data[0]):
        return _as_trained(run, config, recorded)
    corpus = corpus_of(config, load)
    if corpus.content_hash != recorded["content_hash"]:
        raise _other_text(run, config)
    # Not the configured fraction: a development part that was too short was trained on.
    development = recorded.get("split", {}).get("development_fraction", 0.0)
    split = split_corpus(corpus, config.validation_fraction, development)
    store = _store(run, split.validation, None)
    # Old runs recorded no split: compare the size of their validation text.
    same_split = recorded.get("split", split.facts) == split.facts
    if not same_split or len(store) != recorded["validation_tokens"]:
        raise _other_split(run)
    if length and split.validation.is_chat:
        store = _store(run, split.validation, length)
    return split.validation.name, store


def _as_trained(
    run: Run, config: TrainConfig, recorded: Mapping[str, Any]
) -> tuple[str, TokenStore]:
    """Return the name and the tokens of the validation text of a store or of a mixture.

    The texts of a mixture follow one another.

    Raises:
        BadInput: a text or its split has changed.
    """
    training_data = read_training_data(config, run.tokenizer, run.chat)
    if training_data.facts["content_hash"] != recorded["content_hash"]:
        raise _other_text(run, config)
    if training_data.facts["split"] != recorded["split"]:
        raise _other_split(run)
    stores = [part.data.validation for part in training_data.parts] or [training_data.validation]
    store = joined(stores) if len(stores) > 1 else stores[0]
    return f"{training_data.facts['name']} (validation)", store


def _other_text(run: Run, config: TrainConfig) -> BadInput:
    return BadInput(
        f"the text of {' '.join(config.data)} has changed since {run.folder} was trained on "
        "it, so its validation text is unknown: give another text with --data",
        code="training.validation-text-changed",
    )


def _other_split(run: Run) -> BadInput:
    return BadInput(
        f"{run.folder} was trained with another split of its text than this version makes, so "
        "some of the validation text was trained on: give another text with --data",
        code="training.validation-split-changed",
    )


def _store(run: Run, corpus: Corpus, length: int | None) -> TokenStore:
    """Return the tokens of a text, or of conversations in the template of the run.

    Raises:
        BadInput: no conversation has an answer within the context.
    """
    if not corpus.is_chat:
        return open_store(corpus, run.tokenizer)
    template = template_for(corpus, "auto", run.chat)
    most = length or run.model_config.trained_length
    store = open_store(corpus, run.tokenizer, template)
    return cut_to_context(store, run.tokenizer, corpus.name, most)
