"""Which of two sentences does a model prefer: the one in order, or its words in another?

A model prefers the sentence to which it gives the higher probability, whole: every token after
the end of text that opens a document, and the end after the last. A bag of words has no preference
between two orders of the same words. Minimal pairs of a file are compared the same way; where the
two differ in length, nothing makes up for it, as in BLiMP.

Sentences of one length are read together, so that no padding enters.

Source: Warstadt et al. 2020 (BLiMP), section 3: accuracy is the share of pairs whose acceptable
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
from wordorder.text.rows import rows_of_jsonl
from wordorder.text.tokenizer import Tokenizer
from wordorder.text.user_text import printable, read_text

FIELDS = ("sentence_good", "sentence_bad")
SHUFFLES = 8
# Sums of float32 losses of the same tokens in another order differ by less; preferences by more.
TIE = 1e-3  # nats

# Each has some order that is far likelier than nearly all others, in words that are in most texts.
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
    """Two sentences, and where they come from, as `pairs.jsonl, line 3`."""

    good: str
    bad: str
    source: str


@dataclass(frozen=True)
class Preference:
    """How often a model prefers the good one of two.

    Args:
        name: of the file, or of the sentence.
        pairs: how many.
        accuracy: share of pairs where it does; a tie counts half.
        standard_error: of `accuracy`, over good sentences, each with all its pairs; None with one.
        difference_nats: the mean of log P(good) - log P(bad).
        interval: the 95% interval of `accuracy`, over good sentences; within 0 and 1.
    """

    name: str
    pairs: int
    accuracy: float
    standard_error: float | None
    difference_nats: float
    interval: tuple[float, float]

    @classmethod
    def of(cls, name: str, pairs: Sequence[Pair], differences: Tensor) -> Preference:
        """Return what the `differences` (pairs,) of some pairs come to; at least one."""
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
    """Return the sentence's words in other orders, none twice, drawn at random."""
    words, found = sentence.split(), {}
    drawn = random.Random(f"{seed} {sentence}")
    for _ in range(100 * most):  # of two words there is one other order, of one none
        other = " ".join(drawn.sample(words, len(words)))
        if other != sentence:
            found[other] = None
        if len(found) == most:
            break
    return list(found)


def sentence_pairs(*, seed: int = 0) -> list[Pair]:
    """Return the built-in sentences, each beside shuffles of its own words."""
    return [
        Pair(sentence, other, sentence)
        for sentence in SENTENCES
        for other in shuffles_of(sentence, seed=seed)
    ]


def read_pairs(name: str) -> list[Pair]:
    """Read minimal pairs from a .jsonl file, plain or .gz: one object a line, as BLiMP's.

    Raises:
        BadInput: a file that cannot be read, or a line (which) that is no pair.
    """
    source = printable(name)
    missing = f"no such file: {source}; --pairs takes .jsonl files, plain or .gz"
    pairs = [_pair(*row) for row in rows_of_jsonl(read_text(name, missing), source)]
    if not pairs:
        raise BadInput(f"{source} holds no pairs: one JSON object a line, with {_listed(FIELDS)}")
    return pairs


def _pair(record: Any, where: str) -> Pair:
    if not isinstance(record, dict):
        raise BadInput(f"{where}: a JSON {type(record).__name__}, not an object")
    for name in FIELDS:
        if name not in record:
            raise BadInput(f"{where}: no field {name!r}; its fields are {_listed(record)}")
        if not isinstance(record[name], str) or not record[name].strip():
            raise BadInput(f"{where}: {name!r} is no sentence: {json.dumps(record[name])[:40]}")
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
    """Return log P(good) - log P(bad) of pairs in nats, (pairs,) float64.

    Args:
        tokenizer: the model's.
        progress: called with the share that is done, 0 to 1.

    Raises:
        BadInput: a sentence that the tokenizer cannot encode, or the model cannot read (where).
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
            raise BadInput(f"{source}: {error}") from None
    found = log_probabilities(
        model, encoded, tokenizer.end_of_text, sources=list(sources.values()), progress=progress
    )
    known = dict(zip(sources, found.tolist(), strict=True))
    return torch.tensor([known[p.good] - known[p.bad] for p in pairs], dtype=torch.float64)


@torch.no_grad()
def log_probabilities(
    model: TokenModel,
    sentences: Sequence[Sequence[int]],
    end_of_text: int,
    *,
    sources: Sequence[str] = (),
    progress: Callable[[float], object] = lambda _: None,
) -> Tensor:
    """Return the log probability of whole sentences, their ends included, (sentences,) float64.

    Args:
        sentences: token ids, without an end of text.
        sources: where each comes from, for messages.
        progress: called with the share that is done, 0 to 1.

    Raises:
        BadInput: a sentence longer than the model can read.
    """
    by_length: dict[int, list[int]] = {}
    for number, sentence in enumerate(sentences):
        by_length.setdefault(len(sentence), []).append(number)
    device = next(model.parameters()).device
    found, done = torch.empty(len(sentences), dtype=torch.float64), 0
    with evaluating(model):
        for length, numbers in sorted(by_length.items()):
            for part in torch.tensor(numbers).split(max(1, TOKENS_PER_BATCH // (length + 1))):
                rows = [[end_of_text, *sentences[i], end_of_text] for i in part.tolist()]
                tokens = torch.tensor(rows, device=device)
                try:
                    losses = model.target_losses(model.hidden(tokens[:, :-1]), tokens[:, 1:])
                except (BadInput, PositionError) as error:
                    where = f"{sources[numbers[0]]}: " if sources else ""
                    raise BadInput(f"{where}{length} tokens are too long: {error}") from None
                found[part] = -losses.cpu().double().sum(1)
                done += len(part)
                progress(done / len(sentences))
    return found
