"""From a configuration to what a run trains and is measured on: tokenizer and tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wordorder.errors import BadInput
from wordorder.text.batches import Batches
from wordorder.text.corpus import load_corpus
from wordorder.text.store import TokenStore, open_store
from wordorder.text.tokenizer import Tokenizer, make_tokenizer
from wordorder.training.config import TrainConfig


@dataclass(frozen=True)
class Material:
    """The tokenizer, the tokens of both sides of the split, and where they came from."""

    tokenizer: Tokenizer
    training: TokenStore
    validation: TokenStore
    facts: dict[str, Any]

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


def read_material(config: TrainConfig, tokenizer: Tokenizer | None = None) -> Material:
    """Read the corpus, make or take the tokenizer, and tokenize both sides.

    Args:
        tokenizer: of the run that is resumed or fine-tuned; None makes the configured one.

    Raises:
        BadInput: whatever is wrong with the data, or a validation part shorter than one context.
    """
    corpus = load_corpus(config.data, field=config.field)
    if tokenizer is None:
        masked = config.objective == "masked-token"
        size = config.model.vocabulary_size
        tokenizer = make_tokenizer(config.tokenizer, corpus, size, mask=masked)
    sides = corpus.split(config.validation_fraction)
    training, validation = (open_store(side, tokenizer) for side in sides)
    length = config.model.trained_length
    for name, store in (("training", training), ("validation", validation)):
        if len(store) <= length:
            raise BadInput(
                f"the {name} part of {corpus.name} is {len(store)} tokens, shorter than one "
                f"context of {length} and the token after it: give more text, or "
                f"--trained-length {max(1, len(store) - 1)} or less"
            )
    facts = {
        "name": corpus.name,
        "documents": len(corpus.documents),
        "bytes": corpus.bytes,
        "content_hash": corpus.content_hash,
        "tokenizer": tokenizer.kind,
        "training_tokens": len(training),
        "validation_tokens": len(validation),
        "notes": list(corpus.notes),
    }
    return Material(tokenizer, training, validation, facts)


def tokenizer_of(folder: Path) -> Tokenizer:
    """Return the tokenizer that a run folder holds."""
    return Tokenizer.load(folder / "tokenizer.json")
