"""Retrieval accuracy by context length and by the depth of the key.

Answers are teacher-forced: the model reads the text, the question and all but the last token of the
answer. `exact` is the fraction of answers whose tokens are all the most likely ones, which greedy
decoding would generate. Small models, which are not trained on questions, seldom get that far;
`chosen` is the fraction of answer tokens that are the most likely of the ten symbols, and rises
much earlier. Chance is one in ten.

Examples depend only on the seed, the length, the depth and the text, so that a model gets the same
questions before and after a change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import torch

from wordorder.errors import BadInput
from wordorder.evaluation.chunked import last_hidden
from wordorder.evaluation.intervals import mean_of, share_interval
from wordorder.evaluation.loss import TOKENS_PER_BATCH
from wordorder.evaluation.needles import KINDS, SYMBOLS, Haystack, RetrievalExample, haystack
from wordorder.evaluation.windows import check_causal
from wordorder.model import TokenModel, evaluating
from wordorder.positions import PositionError
from wordorder.text.store import TokenStore
from wordorder.text.tokenizer import Tokenizer

DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
EXAMPLES = 8


@dataclass(frozen=True)
class Retrieved:
    """Accuracy of one task at one length and depth.

    Args:
        kind: a key of `KINDS`.
        length: tokens that the model reads.
        depth: of the key; 0 is the beginning and 1 just before the question.
        examples: the number of examples; 0 if they cannot be measured.
        exact: the fraction of answers whose tokens are all the most likely of the vocabulary.
        chosen: the fraction of answer tokens that are the most likely of the ten symbols.
        by_text: `chosen` of each example, for paired comparisons.
        chance: `chosen` of random guessing.
        cannot: why there is no accuracy; None if there is one.
    """

    kind: str
    length: int
    depth: float
    examples: int
    exact: float | None
    chosen: float | None
    by_text: tuple[float, ...] = ()
    chance: float = 1 / SYMBOLS
    cannot: str | None = None


def check_kinds(kinds: Sequence[str]) -> None:
    """Check that every kind is a retrieval task.

    Raises:
        BadInput: a kind is unknown; the message lists the known ones.
    """
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise BadInput(
            f"unknown retrieval task {unknown[0]!r}: choose from {', '.join(KINDS)}",
            code="evaluation.unknown-retrieval",
        )


def retrieval(
    model: TokenModel,
    store: TokenStore,
    tokenizer: Tokenizer,
    kind: str,
    lengths: Sequence[int],
    depths: Sequence[float] = DEPTHS,
    *,
    examples: int = EXAMPLES,
    seed: int = 0,
    progress: Callable[[float], Any] = lambda _: None,
) -> tuple[Retrieved, ...]:
    """Measure retrieval for each length and depth.

    Args:
        model: a causal model.
        store: the real text that surrounds keys.
        kind: a key of `KINDS`.
        lengths: in tokens, question and answer included; repeated ones count once.
        depths: from 0 to 1; repeated ones count once.
        examples: the number of examples for each length and depth.
        progress: called with the fraction done, 0 to 1.

    Raises:
        BadInput: the model is bidirectional, the kind is unknown, or a depth is out of range. A
            length that is too short or too long does not raise: its result has `cannot`.
    """
    check_kinds([kind])
    check_causal(model)
    if odd := [depth for depth in depths if not 0 <= depth <= 1]:
        raise BadInput(
            f"depth {odd[0]:g} is out of range: it goes from 0 (beginning) to 1 (end)",
            code="evaluation.depth-out-of-range",
        )
    lengths, depths = tuple(dict.fromkeys(lengths)), tuple(dict.fromkeys(depths))
    hay, results = haystack(store, tokenizer), []
    total = sum(lengths) * len(depths)
    for length in lengths:
        for depth in depths:
            try:
                texts = [example(hay, kind, length, depth, seed, n) for n in range(examples)]
                results.append(_accuracy(model, kind, length, depth, texts))
            except (BadInput, PositionError) as error:
                results.append(Retrieved(kind, length, depth, 0, None, None, cannot=str(error)))
            progress(sum(result.length for result in results) / total)
    return tuple(results)


def example(
    hay: Haystack, kind: str, length: int, depth: float, seed: int, number: int
) -> RetrievalExample:
    """Return one example, a deterministic function of the arguments."""
    entropy = [seed, list(KINDS).index(kind), length, round(1000 * depth), number]
    return KINDS[kind](hay, np.random.default_rng(entropy), length, depth)


@torch.no_grad()
def _accuracy(
    model: TokenModel, kind: str, length: int, depth: float, texts: Sequence[RetrievalExample]
) -> Retrieved:
    answer, alphabet = texts[0].answer, torch.from_numpy(texts[0].alphabet)
    tokens = torch.from_numpy(np.stack([text.tokens for text in texts]))
    device = next(model.parameters()).device
    exact, chosen = 0, list[float]()
    with evaluating(model):
        for part in tokens.split(max(1, TOKENS_PER_BATCH // length)):
            logits = model.logits(last_hidden(model, part[:, :-1].to(device), answer)).cpu()
            correct = part[:, -answer:]
            exact += int((logits.argmax(-1) == correct).all(1).sum())
            likeliest = alphabet[logits[..., alphabet].argmax(-1)]
            chosen += (likeliest == correct).double().mean(1).tolist()
    shares = exact / len(texts), fmean(chosen), tuple(chosen)
    return Retrieved(kind, length, depth, len(texts), *shares)


def interval_of(by_text: Sequence[float]) -> tuple[float, float]:
    """Return the 95% interval of the mean of per-example fractions, see `share_interval`."""
    values = torch.tensor(by_text, dtype=torch.float64)
    return share_interval(mean_of(values), len(by_text))
