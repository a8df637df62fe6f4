"""From a configuration to what a run trains and is measured on: tokenizer and tokens.

The text is split first, and everything that is fitted is fitted on its training part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wordorder.errors import BadInput, Refused
from wordorder.numerals import counted
from wordorder.text.batches import Batches
from wordorder.text.corpus import Corpus
from wordorder.text.load import load_corpus
from wordorder.text.split import described, split_corpus
from wordorder.text.store import TokenStore, open_store
from wordorder.text.tokenizer import Tokenizer, make_tokenizer
from wordorder.training.config import TrainConfig

# Said in the plan. The alphabet tells which characters occur, and fits nothing.
FITTED_ON = {
    "bpe": "merges learnt from the training text alone",
    "characters": "the alphabet of the whole text",
}


@dataclass(frozen=True)
class TrainingData:
    """The tokenizer, the tokens of the parts of the split, and where they came from.

    Args:
        training: what the weights are fitted on.
        validation: what is reported; nothing may be chosen by it.
        facts: what `config.json` records of the data.
        development: what chooses; None: nothing is to be chosen.
    """

    tokenizer: Tokenizer
    training: TokenStore
    validation: TokenStore
    facts: dict[str, Any]
    development: TokenStore | None = None

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


def read_training_data(config: TrainConfig, tokenizer: Tokenizer | None = None) -> TrainingData:
    """Read the corpus, split it, make or take the tokenizer, and tokenize every part.

    A development part shorter than one context goes back into the training part, with a note.

    Args:
        tokenizer: of the run that is resumed or fine-tuned; None makes the configured one.

    Raises:
        BadInput: whatever is wrong with the data, or a part shorter than one context.
    """
    corpus = load_corpus(config.data, field=config.field)
    try:
        training_data, said = _training_data(config, corpus, config.development_fraction, tokenizer)
    except BadInput as error:
        if tokenizer is None or config.init is None:
            raise
        raise BadInput(f"--init {config.init} brings its tokenizer: {error}") from None
    length = config.model.trained_length
    too_short = training_data.development is not None and len(training_data.development) <= length
    if too_short:
        training_data, said = _training_data(config, corpus, 0.0, tokenizer)
    parts = {"training": training_data.training, "validation": training_data.validation}
    shortest = min(map(len, parts.values()))
    for name, store in parts.items():
        if len(store) <= length:
            copies = "".join(f" ({note})" for note in said)
            or_shorter = f", or --trained-length {shortest - 1} or less" if shortest > 1 else ""
            raise BadInput(
                f"the {name} part of {corpus.name} is {counted(len(store), 'token')}, shorter than "
                f"one context of {length} and the token after it{copies}: "
                f"give more text{or_shorter}"
            )
    if too_short:
        training_data.facts["notes"].append(
            f"{100 * config.development_fraction:g}% of the text is shorter than one context of "
            f"{length} tokens: there is no development part, and nothing is chosen"
        )
    return training_data


def _training_data(
    config: TrainConfig, corpus: Corpus, development_fraction: float, tokenizer: Tokenizer | None
) -> tuple[TrainingData, tuple[str, ...]]:
    """Return the material, with whatever length its parts have, and what is noted of its split."""
    split = split_corpus(corpus, config.validation_fraction, development_fraction)
    fitted_on = asked = None
    if tokenizer is None:
        asked = config.model.vocabulary_size if config.tokenizer == "bpe" else None
        tokenizer = make_tokenizer(
            config.tokenizer,
            split.training,
            config.model.vocabulary_size,
            alphabet=corpus,
            mask=config.objective == "masked-token",
        )
        fitted_on = FITTED_ON.get(config.tokenizer)
    training = open_store(split.training, tokenizer)
    development = open_store(split.development, tokenizer) if split.development else None
    validation = open_store(split.validation, tokenizer)
    facts = {
        "name": corpus.name,
        "documents": len(corpus.documents),
        "bytes": corpus.bytes,
        "content_hash": corpus.content_hash,
        "tokenizer": tokenizer.kind,
        "fitted_on": fitted_on,
        "split": split.facts,
        "training_tokens": len(training),
        "development_tokens": 0 if development is None else len(development),
        "validation_tokens": len(validation),
        "notes": [*corpus.notes, *split.notes, *tokenizer.notes(split.training, asked)],
    }
    return TrainingData(tokenizer, training, validation, facts, development), tuple(split.notes)


def held_out_rows(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what the held-out parts consist of, and notes, as (what, value) lines of a plan.

    Args:
        data: the facts of a material.
    """
    validation, development = map(described(data["split"]).get, ("validation", "development"))
    if data["development_tokens"]:
        validation = f"{validation}; read at the end alone"
        development = f"{data['development_tokens']:,} tokens: {development}; read while training"
    notes = [("note", note) for note in data["notes"]]
    return [("validation", validation), ("development", development), *notes]


def check_same_split(folder: Path, recorded: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Check that a run's text is still split as when it was trained.

    Args:
        folder: of the run.
        recorded: what its `config.json` says of the data.
        facts: those of the text as it is split now.

    Raises:
        Refused: another rule, or a run from before the rule was recorded.
    """
    if recorded.get("split") != facts["split"]:
        raise Refused(
            f"{folder} was trained with another split of its text than this version makes: "
            "some of what it held out may be trained on now; train it again, or add --inexact "
            "to go on all the same"
        )


def choosing_text(training_data: TrainingData) -> TokenStore:
    """Return the text that chooses: the development text, so that what is reported chose nothing.

    Where a corpus has none (one made before there was such a part) it is the validation text.
    """
    return getattr(training_data, "development", None) or training_data.validation


def split_warning(recorded: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Return what to say where a model goes on with its own text, split otherwise; "": nothing.

    Args:
        recorded: what the model's run says of its data.
        facts: those of the text that it is to be trained or measured on.
    """
    same_text = recorded["content_hash"] == facts["content_hash"]
    if not same_text or recorded.get("split") == facts["split"]:
        return ""
    return (
        "the model has read this text with another split: it was trained on some of what is held "
        "out now, which makes its losses look better than they are"
    )


def tokenizer_of(folder: Path) -> Tokenizer:
    """Return the tokenizer that a run folder holds."""
    return Tokenizer.load(folder / "tokenizer.json")
