"""The text that a command reads with a run: what was given, or what its training held out."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from wordorder.errors import BadInput
from wordorder.text.load import load_corpus
from wordorder.text.split import split_corpus
from wordorder.text.store import TokenStore, open_store
from wordorder.training.config import TrainConfig
from wordorder.training.recorded import naming_damage, read_recorded
from wordorder.training.run import Run


def text_of(run: Run, data: Sequence[str], field: str) -> tuple[str, TokenStore]:
    """Return a text's name and its tokens.

    Args:
        data: files, folders, python-docs or hf:NAME; empty: what the run's training held out.
        field: column of tables and datasets that holds the text.

    Raises:
        BadInput: no data given, and the run's own text is not what it was.
    """
    if data:
        corpus = load_corpus(data, field=field)
        for note in corpus.notes:
            print(f"note: {note}", file=sys.stderr)
        return corpus.name, open_store(corpus, run.tokenizer)
    recorded = read_recorded(run.folder, "training", "data")["data"]
    with naming_damage(run.folder / "config.json"):
        config = TrainConfig.from_dict(run.config["training"], run.model_config)
    corpus = load_corpus(config.data, field=config.field)
    if corpus.content_hash != recorded["content_hash"]:
        raise BadInput(
            f"the text of {' '.join(config.data)} is not what {run.folder} was trained on, so "
            "what it held out cannot be told: give another text with --data"
        )
    # Not the configuration's: too short a development part went back into the training part.
    development = recorded.get("split", {}).get("development_fraction", 0.0)
    split = split_corpus(corpus, config.validation_fraction, development)
    store = open_store(split.validation, run.tokenizer)
    # A run from before splits were recorded is known by the size of what it held out.
    known = recorded.get("split", split.facts) == split.facts
    if not known or len(store) != recorded["validation_tokens"]:
        raise BadInput(
            f"{run.folder} was trained with another split of its text than this version makes, so "
            "some of today's validation text was trained on: give another text with --data"
        )
    return split.validation.name, store
