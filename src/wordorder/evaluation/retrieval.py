"""Does a model find what it has read far back? By how far that is, and how deep it stands.

An answer is teacher-forced: the model reads the text, the question and the answer but its last
token, and each token of the answer must be the likeliest there. That all are is what greedy
decoding would write (`exact`). Small models, which have never been asked anything, seldom get so
far; whether a symbol of the right answer is at least the likeliest of the ten that it could be
(`chosen`) shows what they find long before. Guessing chooses one in ten.

Examples depend on the seed, the length, the depth and the text alone: a model is asked the same
before and after a change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import torch

from wordorder.errors import BadInput
from wordorder.evaluation.intervals import mean_of, share_interval
from wordorder.evaluation.loss import TOKENS_PER_BATCH
from wordorder.evaluation.needles import KINDS, SYMBOLS, Example, Haystack, haystack
from wordorder.evaluation.streaming import last_hidden
from wordorder.model import TokenModel, evaluating
from wordorder.positions import PositionError
from wordorder.text.store import TokenStore
from wordorder.text.tokenizer import Tokenizer

DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
EXAMPLES = 8


@dataclass(frozen=True)
class Retrieved:
    """What was found of one kind, at one length and depth.

    Args:
        kind: of `KINDS`.
        length: tokens that are read.
        depth: where it stood, 0 at the beginning and 1 just before the question.
        examples: how many texts; 0 where none could be asked.
        exact: share of them whose whole answer was the likeliest of all tokens.
        chosen: share of the answers' tokens that were the likeliest of the ten they could be.
        by_text: the same share of each text; the texts are the same before and after a change.
        chance: what guessing gives of `chosen`.
        cannot: why there are no shares; None where there are.
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
    """Raise where a kind is none.

    Raises:
        BadInput: with those there are.
    """
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise BadInput(f"no retrieval {unknown[0]!r}: choose from {', '.join(KINDS)}")


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
    """Return what a model finds, for each length and depth.

    Args:
        model: a causal one.
        store: real text, in which it is hidden.
        kind: of `KINDS`.
        lengths: in tokens, question and answer included.
        depths: from 0 to 1.
        examples: texts of each length and depth.
        progress: called with the share that is done, 0 to 1.

    Raises:
        BadInput: a bidirectional model, an unknown kind, or a depth out of range. A length that
            is too short or too long has no shares, and says why.
    """
    check_kinds([kind])
    if not model.config.causal:
        raise BadInput("a bidirectional model sees the answer it would be asked for")
    if odd := [depth for depth in depths if not 0 <= depth <= 1]:
        raise BadInput(f"depth {odd[0]:g} is none: it goes from 0, the beginning, to 1, the end")
    hay, found = haystack(store, tokenizer), []
    total = sum(lengths) * len(depths)
    for length in lengths:
        for depth in depths:
            try:
                texts = [drawn(hay, kind, length, depth, seed, n) for n in range(examples)]
                found.append(_asked(model, kind, length, depth, texts))
            except (BadInput, PositionError) as error:
                found.append(Retrieved(kind, length, depth, 0, None, None, cannot=str(error)))
            progress(sum(each.length for each in found) / total)
    return tuple(found)


def drawn(hay: Haystack, kind: str, length: int, depth: float, seed: int, number: int) -> Example:
    """Return one example, which depends on what it is asked for and nothing else."""
    entropy = [seed, list(KINDS).index(kind), length, round(1000 * depth), number]
    return KINDS[kind](hay, np.random.default_rng(entropy), length, depth)


@torch.no_grad()
def _asked(
    model: TokenModel, kind: str, length: int, depth: float, texts: Sequence[Example]
) -> Retrieved:
    answer, alphabet = texts[0].answer, torch.from_numpy(texts[0].alphabet)
    tokens = torch.from_numpy(np.stack([text.tokens for text in texts]))
    device = next(model.parameters()).device
    exact, chosen = 0, list[float]()
    with evaluating(model):
        for part in tokens.split(max(1, TOKENS_PER_BATCH // length)):
            logits = model.logits(last_hidden(model, part[:, :-1].to(device), answer)).cpu()
            right = part[:, -answer:]
            exact += int((logits.argmax(-1) == right).all(1).sum())
            likeliest = alphabet[logits[..., alphabet].argmax(-1)]
            chosen += (likeliest == right).double().mean(1).tolist()
    found = exact / len(texts), fmean(chosen), tuple(chosen)
    return Retrieved(kind, length, depth, len(texts), *found)


def interval_of(by_text: Sequence[float]) -> tuple[float, float]:
    """Return the 95% interval of the mean of shares, one of each text: see `share_interval`."""
    values = torch.tensor(by_text, dtype=torch.float64)
    return share_interval(mean_of(values), len(by_text))
