"""Reads the texts of a weighted mixture: one tokenizer, and a split of each text by itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from wordorder.numerals import counted
from wordorder.text.chat_template import ChatTemplate, template_for
from wordorder.text.corpus import Corpus, merged
from wordorder.text.data_names import WeightedName, check_alike
from wordorder.text.load import load_corpus
from wordorder.text.sharded.folder import ShardedText, is_store, open_sharded
from wordorder.text.split import Split, document_key, split_corpus
from wordorder.text.split_notes import PARTS
from wordorder.text.tokenizer import FITTED_ON, Tokenizer
from wordorder.training.config import TrainConfig
from wordorder.training.stored_text import (
    check_template,
    of_store,
    stored_template,
    stored_tokenizer,
)
from wordorder.training.tokenized_text import (
    MixedPart,
    TrainingData,
    fitted_tokenizer,
    of_corpus,
    template_of,
)

FRACTIONS = ("validation_fraction", "development_fraction")


def read_mixture(
    config: TrainConfig,
    mixture: Sequence[WeightedName],
    tokenizer: Tokenizer | None,
    chat: Mapping[str, Any] | None,
) -> TrainingData:
    """Read, split and tokenize each text of a mixture.

    The tokenizer is fitted on the training parts of all texts, whatever their weights. If some of
    them are stores, the tokenizer of the stores is used instead.

    Args:
        tokenizer: of the run that is resumed or fine-tuned; None creates the configured one.
        chat: the record of that run's chat template; None: it has none.

    Raises:
        BadInput: a text cannot be read or is too short, or there are conversations and text.
    """
    stores = {part.name: open_sharded(part.name) for part in mixture if is_store(part.name)}
    corpora = {
        part.name: load_corpus(part.name, field=config.field, most_bytes=config.most_bytes)
        for part in mixture
        if part.name not in stores
    }
    chats = [text.index["chat"] is not None for text in stores.values()]
    check_alike([*chats, *(corpus.is_chat for corpus in corpora.values())])
    fractions = config.validation_fraction, config.development_fraction
    splits = [(corpus, split_corpus(corpus, *fractions)) for corpus in corpora.values()]
    tokenizer, template, fitted_on, notes = _tokenizer(
        config, list(stores.values()), splits, tokenizer, chat
    )
    parts = []
    for name, weight in mixture:
        if name in corpora:
            data = of_corpus(config, corpora[name], tokenizer, template)
        else:
            data = of_store(config, name, tokenizer, chat)
        parts.append(MixedPart(name, weight or 0.0, data))
    facts = _facts(parts)
    facts["fitted_on"] = fitted_on
    facts["notes"] += notes + _note_of_both(splits)
    first = parts[0].data
    development = next((p.data.development for p in parts if p.data.development is not None), None)
    return replace(first, facts=facts, development=development, parts=tuple(parts))


def _template(
    config: TrainConfig,
    stores: Sequence[ShardedText],
    whole: Corpus,
    chat: Mapping[str, Any] | None,
) -> ChatTemplate | None:
    """Return the template of all parts, which the first store has decided if there is one.

    Raises:
        BadInput: other parts are or would be written by another template.
    """
    if not stores:
        return template_of(config, whole, chat)
    template = stored_template(config, stores[0], chat)
    if template is None:
        return None
    for store in stores[1:]:
        check_template(store, template, "another store")
    if whole.documents:
        needed = template_for(whole, config.chat_template, template.record())
        check_template(stores[0], needed, whole.name)
    return template


def _tokenizer(
    config: TrainConfig,
    stores: Sequence[ShardedText],
    splits: Sequence[tuple[Corpus, Split]],
    tokenizer: Tokenizer | None,
    chat: Mapping[str, Any] | None,
) -> tuple[Tokenizer, ChatTemplate | None, str | None, tuple[str, ...]]:
    """Return the tokenizer of all parts, the chat template, what it was fitted on, and notes."""
    whole = merged([corpus for corpus, _ in splits])
    template = _template(config, stores, whole, chat)
    fitted_on, requested_size = None, None
    if tokenizer is None and stores:
        tokenizer = stored_tokenizer(config, stores[0], template)
        fitted_on = stores[0].index["fitted_on"]
    elif tokenizer is None:
        training = merged([split.training for _, split in splits])
        tokenizer = fitted_tokenizer(config, training, whole, template)
        fitted_on = FITTED_ON.get(config.tokenizer)
        requested_size = config.model.vocabulary_size if config.tokenizer == "bpe" else None
    notes = tokenizer.notes(whole, requested_size) if splits else ()
    return tokenizer, template, fitted_on, notes


def _note_of_both(splits: Sequence[tuple[Corpus, Split]]) -> tuple[str, ...]:
    """Return a remark if documents are trained on in one text and held out in another.

    Not here: the documents of stores, of which only tokens are kept.
    """
    uses: dict[bytes, set[str]] = {}
    for corpus, split in splits:
        pieces = {part: getattr(split, part) for part in PARTS}
        if split.facts["rule"] == "tail":  # it cuts a document in the same way in every text
            pieces = {"cut": corpus}
        for part, documents in pieces.items():
            for document in documents.documents if documents else ():
                uses.setdefault(document_key(document.text), set()).add(part)
    held_out = {"development", "validation"}
    both = sum(len(parts) > 1 and parts != held_out for parts in uses.values())
    if not both:
        return ()
    verb = "is" if both == 1 else "are"
    return (
        f"{counted(both, 'document')} {verb} in several texts of the mixture, split differently, "
        "so held-out text is trained on and losses are too low: give each document in one text",
    )


def _facts(parts: Sequence[MixedPart]) -> dict[str, Any]:
    """Return the description of a mixture in `config.json`."""
    each = [part.data.facts for part in parts]
    sums = ("documents", "bytes", *(f"{name}_tokens" for name in PARTS))
    hashes = " ".join(facts["content_hash"] for facts in each)
    facts: dict[str, Any] = {name: sum(one[name] for one in each) for name in sums}
    if "chat" in each[0]:
        answers = sum(one["chat"]["answer_tokens"] for one in each)
        facts["chat"] = {**each[0]["chat"], "answer_tokens": answers}
    counts = [one["split"]["documents"] for one in each]
    return {
        "name": " + ".join(one["name"] for one in each),
        **facts,
        "content_hash": hashlib.blake2b(hashes.encode(), digest_size=16).hexdigest(),
        "tokenizer": each[0]["tokenizer"],
        "split": {
            "version": each[0]["split"]["version"],
            "rule": "parts",
            **{name: _common(one["split"][name] for one in each) for name in FRACTIONS},
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


def _common(values: Iterable[float]) -> float | None:
    """Return the value that all have; None if they differ."""
    different = set(values)
    return different.pop() if len(different) == 1 else None
