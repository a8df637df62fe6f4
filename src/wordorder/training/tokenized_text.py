"""The text of a run as tokens: read, split, and tokenized.

The text is split first, so that the tokenizer and the weights are fitted on the training part only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from wordorder.errors import BadInput
from wordorder.numerals import counted
from wordorder.text.batches import Batches
from wordorder.text.chat_template import ChatTemplate, check_no_template, template_for
from wordorder.text.corpus import Corpus
from wordorder.text.mixture import MixedBatches
from wordorder.text.split import split_corpus
from wordorder.text.split_notes import PARTS
from wordorder.text.store import TokenStore, open_store, shortened
from wordorder.text.tokenizer import FITTED_ON, Tokenizer, make_tokenizer
from wordorder.training.config import TrainConfig


class MixedPart(NamedTuple):
    """One text of a mixture.

    Args:
        name: the file, folder or dataset.
        weight: its share of the training tokens.
        data: its stores.
    """

    name: str
    weight: float
    data: TrainingData


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
        parts: the texts of a mixture; `training`, `validation` and `development` are then those of
            its first text that has them. Empty: one text.
    """

    tokenizer: Tokenizer
    training: TokenStore
    validation: TokenStore
    facts: dict[str, Any]
    development: TokenStore | None = None
    template: ChatTemplate | None = None
    parts: tuple[MixedPart, ...] = ()

    @property
    def training_stores(self) -> tuple[TokenStore, ...]:
        """The tokens for fitting the weights, of each text of a mixture."""
        return tuple(part.data.training for part in self.parts) or (self.training,)

    def batches(self, config: TrainConfig) -> Batches | MixedBatches:
        """Return the training batches of a configuration."""
        if self.parts:
            parts = [part.data._batches(config) for part in self.parts]
            weights = [part.weight for part in self.parts]
            return MixedBatches(parts, weights, config.batch_size, config.seed)
        return self._batches(config)

    def _batches(self, config: TrainConfig) -> Batches:
        return Batches(
            self.training,
            context_length=config.model.trained_length,
            batch_size=config.batch_size,
            seed=config.seed,
            isolate_documents=config.isolate_documents,
            objective=config.objective,
            mask_id=self.tokenizer.mask,
        )


def bits_per_byte(training_data: Any, loss_nats: float) -> float | None:
    """Return a loss on the training text in bits per byte; None if tokens are not lossless.

    Args:
        training_data: what `Training` reads, which may be something other than text.
    """
    if not all(store.lossless for _, store in _weighted_stores(training_data)):
        return None
    return loss_nats / math.log(2) / bytes_per_token(training_data)


def bytes_per_token(training_data: Any) -> float:
    """Return the mean length in bytes of a token that is predicted in training."""
    stores = _weighted_stores(training_data)
    return float(sum(weight * store.bytes / store.targets for weight, store in stores))


def _weighted_stores(training_data: Any) -> list[tuple[float, TokenStore]]:
    """Return the training text, or those of a mixture, each with its share of the batches."""
    parts = getattr(training_data, "parts", ())
    return [(p.weight, p.data.training) for p in parts] or [(1.0, training_data.training)]


def of_corpus(
    config: TrainConfig,
    corpus: Corpus,
    tokenizer: Tokenizer | None,
    template: ChatTemplate | None,
) -> TrainingData:
    """Split and tokenize a corpus.

    A development part shorter than one context is added to the training part, with a note.

    Args:
        tokenizer: None creates the configured one.
        template: how conversations are written; None for text.

    Raises:
        BadInput: a part is shorter than one context.
    """
    training_data, notes = _tokenized(
        config, corpus, config.development_fraction, tokenizer, template
    )
    length = config.model.trained_length
    if template is not None:
        return within_context(training_data, length, corpus.name)
    too_short = training_data.development is not None and len(training_data.development) <= length
    if too_short:
        training_data, notes = _tokenized(config, corpus, 0.0, tokenizer, None)
    if config.development_data and training_data.development is not None:
        too_short = False
    check_lengths(training_data, length, corpus.name, notes)
    if too_short:
        training_data.facts["notes"].append(
            f"{100 * config.development_fraction:g}% of the text is shorter than one context of "
            f"{length} tokens, so there is no development part and nothing is chosen"
        )
    return training_data


def check_lengths(data: TrainingData, length: int, name: str, notes: Sequence[str]) -> None:
    """Raise BadInput if a part of the text is shorter than one context.

    Args:
        notes: about the split, which may explain it.
    """
    parts = {"training": data.training, "validation": data.validation}
    if data.development is not None:
        parts["development"] = data.development
    shortest = min(map(len, parts.values()))
    for part, store in parts.items():
        if len(store) <= length:
            copies = "".join(f" ({note})" for note in notes)
            or_shorter = f", or --trained-length {shortest - 1} or less" if shortest > 1 else ""
            raise BadInput(
                f"the {part} part of {name} has {counted(len(store), 'token')}, fewer than "
                f"one context of {length} and the token after it{copies}: "
                f"give more text{or_shorter}",
                code="training.part-too-short",
            )


def check_chats(config: TrainConfig, name: str, *, is_chat: bool) -> None:
    """Raise BadInput if an option does not go with conversations, or needs them."""
    if not is_chat:
        check_no_template(config.chat_template, name)
        return
    if config.objective != "next-token":
        raise BadInput(
            f"{name} holds conversations, whose answers are predicted token by token: leave "
            f"out --objective {config.objective}",
            code="training.chat-objective",
        )
    if config.model.kind == "gru":
        raise BadInput(
            f"{name} holds conversations, which a GRU cannot separate when they are packed: "
            "use --model transformer",
            code="training.chat-gru",
        )


def template_of(
    config: TrainConfig, corpus: Corpus, chat: Mapping[str, Any] | None
) -> ChatTemplate | None:
    """Return the template of a corpus of conversations; None for text.

    Raises:
        BadInput: an option does not go with conversations, or needs them.
    """
    check_chats(config, corpus.name, is_chat=corpus.is_chat)
    if not corpus.is_chat:
        return None
    return template_for(corpus, config.chat_template, chat)


def within_context(training_data: TrainingData, length: int, name: str) -> TrainingData:
    """Return conversations cut to the context length, with a note that counts the cut ones.

    Raises:
        BadInput: a part has no answer within the context.
    """
    tokenizer = training_data.tokenizer
    parts: dict[str, Any] = {}
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
    if "training_words" in facts:  # of a store only their sum is known, so their share is kept
        kept = len(parts["training"]) / len(training_data.training)
        facts["training_words"] = max(1, round(kept * facts["training_words"]))
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


def fitted_tokenizer(
    config: TrainConfig, training: Corpus, whole: Corpus, template: ChatTemplate | None
) -> Tokenizer:
    """Return the configured tokenizer, fitted on the training part of a corpus."""
    return make_tokenizer(
        config.tokenizer,
        training,
        config.model.vocabulary_size,
        alphabet=whole,
        mask=config.objective == "masked-token",
        special_tokens=template.special_tokens if template else (),
        written=template.words if template else "",
    )


def _tokenized(
    config: TrainConfig,
    corpus: Corpus,
    development_fraction: float,
    tokenizer: Tokenizer | None,
    template: ChatTemplate | None,
) -> tuple[TrainingData, tuple[str, ...]]:
    """Return the training data, its parts of any length, and notes about the split."""
    split = split_corpus(corpus, config.validation_fraction, development_fraction)
    fitted_on = requested_size = None
    if tokenizer is not None:
        tokenizer = tokenizer.with_special(template.special_tokens if template else ())
    else:
        requested_size = config.model.vocabulary_size if config.tokenizer == "bpe" else None
        tokenizer = fitted_tokenizer(config, split.training, corpus, template)
        fitted_on = FITTED_ON.get(config.tokenizer)
    try:
        training = open_store(split.training, tokenizer, template)
        development = None
        if split.development is not None:
            development = open_store(split.development, tokenizer, template)
        validation = open_store(split.validation, tokenizer, template)
    except BadInput as error:
        if config.init is None:
            raise
        raise BadInput(
            f"the tokenizer of --init {config.init}: {error}", code="training.init-not-encoded"
        ) from None
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
