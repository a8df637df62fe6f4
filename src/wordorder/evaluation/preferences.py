"""Minimal pairs: how often a model prefers a sentence to a shuffle of its words.

A model prefers the sentence with the higher total probability: of every token after the end-of-text
that begins a document, and of the end-of-text after the last token. A bag-of-words model has no
preference between two orders of the same words. Minimal pairs of a file are compared in the same
way, without correction for different lengths, as in BLiMP.

Sentences of equal length form a batch, so that no padding is needed.

Source: Warstadt et al. 2020 (BLiMP), section 3: accuracy is the fraction of pairs whose acceptable
sentence has the higher probability.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wordorder.errors import BadInput
from wordorder.evaluation.intervals import mean_of, share_interval
from wordorder.evaluation.loss import TOKENS_PER_BATCH
from wordorder.model import TokenModel, evaluating
from wordorder.positions import PositionError
from wordorder.text.rows import check_not_array, rows_of_jsonl
from wordorder.text.tokenizer import Tokenizer
from wordorder.text.user_text import printable, read_text

FIELDS = ("sentence_good", "sentence_bad")
SHUFFLES = 8
# Larger than rounding in sums of the same float32 losses, smaller than any real preference.
TIE = 1e-3  # nats

# Common words, in an order that is far more likely than almost all others.
SENTENCES = (
    "the dog bit the man",
    "she gave him a small book",
    "I love you and I always will",
    "the children were in the house",
    "it is not the end of the world",
    "we went to the city in the morning",
    "he did not know what to say",
    "there is nothing new under the sun",
    "they have been here for a long time",
    "the old man sat down at the table",
    "tell him to call me if you see him",
    "this is the first of the two",
    "the name of the file is given as a string",
    "you can use it when you need it",
    "one of them must be wrong",
    "what she wants is a glass of water",
)


@dataclass(frozen=True)
class Pair:
    """Two sentences and their source for messages, such as `pairs.jsonl, line 3`."""

    good: str
    bad: str
    source: str


@dataclass(frozen=True)
class Preference:
    """How often a model prefers the good sentence of a pair.

    Args:
        name: the file, or the sentence.
        pairs: the number of pairs.
        accuracy: the fraction of pairs with the good sentence preferred; a tie counts half.
        standard_error: of `accuracy`, clustered by good sentence; None with one.
        difference_nats: the mean of log P(good) - log P(bad).
        interval: the 95% interval of `accuracy`, clustered by good sentence; within 0 and 1.
    """

    name: str
    pairs: int
    accuracy: float
    standard_error: float | None
    difference_nats: float
    interval: tuple[float, float]

    @classmethod
    def of(cls, name: str, pairs: Sequence[Pair], differences: Tensor) -> Preference:
        """Summarise the `differences` (pairs,) of at least one pair."""
        preferred = (differences > TIE).double() + 0.5 * (differences.abs() <= TIE).double()
        groups = np.unique([pair.good for pair in pairs], return_inverse=True)[1]
        accuracy = mean_of(preferred, groups)
        low, high = share_interval(accuracy, len(set(groups.tolist())))
        return cls(
            name,
            len(pairs),
            accuracy.mean,
            accuracy.standard_error,
            float(differences.mean()),
            (low, high),
        )


def shuffles_of(sentence: str, *, seed: int = 0, most: int = SHUFFLES) -> list[str]:
    """Return distinct random orders of the sentence's words, at most `most`."""
    words = sentence.split()
    orders: dict[str, None] = {}
    generator = random.Random(f"{seed} {sentence}")
    for _ in range(100 * most):  # short sentences have fewer than `most` other orders
        other = " ".join(generator.sample(words, len(words)))
        if other != sentence:
            orders[other] = None
        if len(orders) == most:
            break
    return list(orders)


def sentence_pairs(*, seed: int = 0) -> list[Pair]:
    """Return the built-in sentences, paired with shuffles of their words."""
    return [
        Pair(sentence, other, sentence)
        for sentence in SENTENCES
        for other in shuffles_of(sentence, seed=seed)
    ]


def read_pairs(name: str) -> list[Pair]:
    """Read minimal pairs from a .jsonl file, plain or compressed, in the format of BLiMP.

    Raises:
        BadInput: the file cannot be read, or a line is not a pair; the message names the line.
    """
    source = printable(name)
    missing = f"no such file: {source}; give a .jsonl file"
    text = read_text(name, missing)
    check_not_array(text, source)
    pairs = [_pair(*row) for row in rows_of_jsonl(text.split("\n"), source)]
    if not pairs:
        raise BadInput(
            f"{source} holds no pairs: write one JSON object per line, with {_listed(FIELDS)}",
            code="evaluation.no-pairs",
        )
    return pairs


def _pair(record: Any, where: str) -> Pair:
    if not isinstance(record, dict):
        raise BadInput(
            f"{where}: a JSON {type(record).__name__}, not an object with {_listed(FIELDS)}",
            code="evaluation.pair-not-an-object",
        )
    for name in FIELDS:
        if name not in record:
            raise BadInput(
                f"{where}: the field {name!r} is missing; its fields are {_listed(record)}",
                code="evaluation.pair-without-field",
            )
        if not isinstance(record[name], str) or not record[name].strip():
            raise BadInput(
                f"{where}: {name!r} is not a sentence: {json.dumps(record[name])[:40]}",
                code="evaluation.not-a-sentence",
            )
    return Pair(record[FIELDS[0]], record[FIELDS[1]], where)


def _listed(names: Any) -> str:
    return " and ".join(repr(str(name)) for name in names) or "none"


def differences(
    model: TokenModel,
    tokenizer: Tokenizer,
    pairs: Sequence[Pair],
    *,
    progress: Callable[[float], object] = lambda _: None,
) -> Tensor:
    """Return log P(good) - log P(bad) of each pair in nats, (pairs,) float64.

    Args:
        tokenizer: the model's.
        progress: called with the fraction done, 0 to 1.

    Raises:
        BadInput: the tokenizer cannot encode a sentence, or it is too long for the model; the
            message names its source.
    """
    sources: dict[str, str] = {}
    for pair in pairs:
        sources.setdefault(pair.good, pair.source)
        sources.setdefault(pair.bad, pair.source)
    encoded = []
    for text, source in sources.items():
        try:
            encoded.append(tokenizer.encode(text))
        except BadInput as error:
            raise BadInput(f"{source}: {error}", code="evaluation.pair-cannot-be-encoded") from None
    probabilities = log_probabilities(
        model,
        encoded,
        tokenizer.end_of_text,
        beginning=tokenizer.beginning_of_text,
        sources=list(sources.values()),
        progress=progress,
    )
    by_text = dict(zip(sources, probabilities.tolist(), strict=True))
    return torch.tensor([by_text[p.good] - by_text[p.bad] for p in pairs], dtype=torch.float64)


@torch.no_grad()
def log_probabilities(
    model: TokenModel,
    sentences: Sequence[Sequence[int]],
    end_of_text: int,
    *,
    beginning: int | None = None,
    sources: Sequence[str] = (),
    progress: Callable[[float], object] = lambda _: None,
) -> Tensor:
    """Return the log probability of sentences with their end-of-text, (sentences,) float64.

    Args:
        sentences: token ids, without end-of-text.
        beginning: the token before each; None: end-of-text.
        sources: the origin of each, for messages.
        progress: called with the fraction done, 0 to 1.

    Raises:
        BadInput: a sentence is longer than the model has positions for.
    """
    opening = end_of_text if beginning is None else beginning
    by_length: dict[int, list[int]] = {}
    for number, sentence in enumerate(sentences):
        by_length.setdefault(len(sentence), []).append(number)
    device = next(model.parameters()).device
    probabilities, done = torch.empty(len(sentences), dtype=torch.float64), 0
    with evaluating(model):
        for length, numbers in sorted(by_length.items()):
            for part in torch.tensor(numbers).split(max(1, TOKENS_PER_BATCH // (length + 1))):
                rows = [[opening, *sentences[i], end_of_text] for i in part.tolist()]
                tokens = torch.tensor(rows, device=device)
                try:
                    losses = model.target_losses(model.hidden(tokens[:, :-1]), tokens[:, 1:])
                except (BadInput, PositionError) as error:
                    where = f"{sources[numbers[0]]}: " if sources else ""
                    raise BadInput(
                        f"{where}{length} tokens are too long: {error}",
                        code="evaluation.sentence-too-long",
                    ) from None
                probabilities[part] = -losses.cpu().double().sum(1)
                done += len(part)
                progress(done / len(sentences))
    return probabilities
