"""The text that a command reads with a run: what was given, or what its training held out."""

from __future__ import annotations

from collections.abc import Sequence

from wordorder.errors import BadInput
from wordorder.text.corpus import load_corpus
from wordorder.text.store import TokenStore, open_store
from wordorder.training.config import TrainConfig
from wordorder.training.run import Run


def text_of(run: Run, data: Sequence[str], field: str) -> tuple[str, TokenStore]:
    """Return a text's name and its tokens.

    Args:
        data: files, folders, python-docs or hf:NAME; empty: what the run's training held out.
        field: field of .jsonl, .parquet and datasets that holds the text.

    Raises:
        BadInput: no data given, and the run's own text is not what it was.
    """
    if data:
        corpus = load_corpus(data, field=field)
        return corpus.name, open_store(corpus, run.tokenizer)
    config = TrainConfig.from_dict(run.config["training"], run.model_config)
    corpus = load_corpus(config.data, field=config.field)
    if corpus.content_hash != run.config["data"]["content_hash"]:
        raise BadInput(
            f"the text of {' '.join(config.data)} is not what {run.folder} was trained on, so "
            "what it held out cannot be told: give another text with --data"
        )
    _, validation = corpus.split(config.validation_fraction)
    return validation.name, open_store(validation, run.tokenizer)
