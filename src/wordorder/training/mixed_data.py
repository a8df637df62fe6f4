"""Reads the texts of a weighted mixture: one tokenizer, and a split of each text by itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from wordorder.errors import BadInput
from wordorder.text.corpus import Corpus
from wordorder.text.data_names import WeightedName
from wordorder.text.load import load_corpus
from wordorder.text.split import PARTS, split_corpus
from wordorder.text.tokenizer import Tokenizer
from wordorder.training.config import TrainConfig
from wordorder.training.tokenized_text import (
    FITTED_ON,
    MixedPart,
    TrainingData,
    fitted_tokenizer,
    of_corpus,
    template_of,
)


def read_mixture(
    config: TrainConfig,
    mixture: Sequence[WeightedName],
    tokenizer: Tokenizer | None,
    chat: Mapping[str, Any] | None,
) -> TrainingData:
    """Read, split and tokenize each text of a mixture.

    The tokenizer is fitted on the training parts of all texts, whatever their weights.

    Args:
        tokenizer: of the run that is resumed or fine-tuned; None creates the configured one.
        chat: the record of that run's chat template; None: it has none.

    Raises:
        BadInput: a text cannot be read or is too short, or there are conversations and text.
    """
    corpora = [
        load_corpus(part.name, field=config.field, most_bytes=config.most_bytes) for part in mixture
    ]
    whole = _merged(corpora)
    if len({corpus.is_chat for corpus in corpora}) > 1:
        raise BadInput(
            "a mixture of conversations and text is not possible: train on the text first, and "
            "then on the conversations with --init RUN",
            code="training.mixed-chats-and-text",
        )
    template = template_of(config, whole, chat)
    fitted_on, requested_size = None, None
    fractions = config.validation_fraction, config.development_fraction
    if tokenizer is None:
        training = _merged([split_corpus(corpus, *fractions).training for corpus in corpora])
        tokenizer = fitted_tokenizer(config, training, whole, template)
        fitted_on = FITTED_ON.get(config.tokenizer)
        requested_size = config.model.vocabulary_size if config.tokenizer == "bpe" else None
    parts = tuple(
        MixedPart(part.name, part.weight or 0.0, of_corpus(config, corpus, tokenizer, template))
        for part, corpus in zip(mixture, corpora, strict=True)
    )
    facts = _facts(parts, whole, fractions)
    facts["fitted_on"] = fitted_on
    facts["notes"] += tokenizer.notes(whole, requested_size)
    first = parts[0].data
    development = next((p.data.development for p in parts if p.data.development is not None), None)
    return replace(first, facts=facts, development=development, parts=parts)


def _merged(corpora: Sequence[Corpus]) -> Corpus:
    documents = tuple(document for corpus in corpora for document in corpus.documents)
    return Corpus(" + ".join(corpus.name for corpus in corpora), documents)


def _facts(
    parts: Sequence[MixedPart], whole: Corpus, fractions: tuple[float, float]
) -> dict[str, Any]:
    """Return the description of a mixture in `config.json`."""
    each = [part.data.facts for part in parts]
    sums = ("documents", "bytes", *(f"{name}_tokens" for name in PARTS))
    hashes = " ".join(facts["content_hash"] for facts in each)
    facts: dict[str, Any] = {name: sum(one[name] for one in each) for name in sums}
    if all("training_words" in one for one in each):
        facts["training_words"] = sum(one["training_words"] for one in each)
    if "chat" in each[0]:
        answers = sum(one["chat"]["answer_tokens"] for one in each)
        facts["chat"] = {**each[0]["chat"], "answer_tokens": answers}
    counts = [one["split"]["documents"] for one in each]
    return {
        "name": whole.name,
        **facts,
        "content_hash": hashlib.blake2b(hashes.encode(), digest_size=16).hexdigest(),
        "tokenizer": each[0]["tokenizer"],
        "split": {
            "version": each[0]["split"]["version"],
            "rule": "parts",
            "validation_fraction": fractions[0],
            "development_fraction": fractions[1],
            "documents": {name: sum(count[name] for count in counts) for name in counts[0]},
            "parts": [one["split"] for one in each],
        },
        "parts": [
            {
                "name": part.name,
                "weight": part.weight,
                **{name: one[name] for name in (*sums, "content_hash")},
            }
            for part, one in zip(parts, each, strict=True)
        ],
        "notes": [
            f"{p.name}: {note}" for p, one in zip(parts, each, strict=True) for note in one["notes"]
        ],
    }
