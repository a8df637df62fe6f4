"""Loads the text for evaluating a run: the given data, or the validation text of the run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from wordorder.errors import BadInput
from wordorder.text.corpus import Corpus
from wordorder.text.load import load_corpus
from wordorder.text.split import split_corpus
from wordorder.text.store import TokenStore, open_store
from wordorder.training.config import TrainConfig
from wordorder.training.recorded import naming_damage, read_recorded
from wordorder.training.run import Run


def text_of(
    run: Run,
    data: Sequence[str],
    field: str,
    *,
    load: Callable[..., Corpus] = load_corpus,
) -> tuple[str, TokenStore]:
    """Return the name and the tokens of a text.

    Args:
        data: files, folders, python-docs or hf:NAME; empty: the run's validation text.
        field: column of tables and datasets that holds the text.
        load: as `load_corpus`; another one may keep texts that several runs share.

    Raises:
        BadInput: `data` is empty, and the run was imported, or its text or split has changed.
    """
    if data:
        corpus = load(data, field=field)
        for note in corpus.notes:
            print(f"note: {note}", file=sys.stderr)
        return corpus.name, open_store(corpus, run.tokenizer)
    run.check_has_text()
    recorded = read_recorded(run.folder, "training", "data")["data"]
    with naming_damage(run.folder / "config.json"):
        config = TrainConfig.from_dict(run.config["training"], run.model_config)
    corpus = load(config.data, field=config.field)
    if corpus.content_hash != recorded["content_hash"]:
        raise BadInput(
            f"the text of {' '.join(config.data)} has changed since {run.folder} was trained on "
            "it, so its validation text is unknown: give another text with --data",
            code="training.validation-text-changed",
        )
    # Not the configured fraction: a development part that was too short was trained on.
    development = recorded.get("split", {}).get("development_fraction", 0.0)
    split = split_corpus(corpus, config.validation_fraction, development)
    store = open_store(split.validation, run.tokenizer)
    # Old runs recorded no split: compare the size of their validation text.
    same_split = recorded.get("split", split.facts) == split.facts
    if not same_split or len(store) != recorded["validation_tokens"]:
        raise BadInput(
            f"{run.folder} was trained with another split of its text than this version makes, so "
            "some of the validation text was trained on: give another text with --data",
            code="training.validation-split-changed",
        )
    return split.validation.name, store
