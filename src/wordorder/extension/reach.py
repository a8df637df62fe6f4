"""How far a model reaches: what it does with more context, and with no more than before.

Everything is asked of the same tokens before and after, so that what a method changes is seen
window by window: the loss of the same targets with growing context, the loss at the old length,
which scaling often costs, and what the model finds of what it has read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wordorder.errors import BadInput
from wordorder.evaluation.context import FEWEST_DOCUMENTS, ContextLosses, context_losses
from wordorder.evaluation.loss import evaluate
from wordorder.evaluation.retrieval import Retrieved, retrieval
from wordorder.evaluation.windows import mean_and_error, places
from wordorder.model import LanguageModel
from wordorder.text.store import TokenStore, beginning
from wordorder.text.tokenizer import Tokenizer

SHORT_TOKENS = 1 << 16  # read for the loss at the old length
MEASURED = ("passkey", "recall")  # kinds of retrieval


@dataclass(frozen=True)
class Text:
    """What is read to find out: held-out text, and where windows may lie.

    Args:
        across_documents: windows may begin in one document and end in another.
    """

    store: TokenStore
    tokenizer: Tokenizer
    across_documents: bool = False


@dataclass(frozen=True)
class Reach:
    """How far a model reaches.

    Args:
        context: loss of the same targets from the old length to the new one.
        short_loss: at the old length, in whole windows.
        short_error: standard error of it.
        short_tokens: of how many.
        retrieved: what was found of what was read, by kind, length and depth.
    """

    context: ContextLosses
    short_loss: float
    short_error: float | None
    short_tokens: int
    retrieved: tuple[Retrieved, ...] = ()


def lengths_between(old: int, new: int) -> tuple[int, ...]:
    """Return the lengths that are measured: the old one, doubled, up to the new one."""
    lengths = [old]
    while lengths[-1] * 2 < new:
        lengths.append(lengths[-1] * 2)
    return (*lengths, new)


def check_long_enough(text: Text, old: int, new: int, name: str) -> None:
    """Raise where no window of the new length can be cut.

    Raises:
        BadInput: with the longest document there is.
    """
    _, available = places(text.store, new, max(1, old // 2), text.across_documents)
    if int(available.sum()):
        return
    if text.across_documents:
        raise BadInput(
            f"the held-out part of {name} has {len(text.store):,} tokens, fewer than {new:,}: give "
            "more text with --data"
        )
    longest = int(text.store.sizes.max())
    raise BadInput(
        f"no held-out document of {name} has {new:,} tokens, the longest has {longest:,}: give "
        "longer ones with --data, a shorter --to, or let windows cross documents with --pack"
    )


def reach(
    model: LanguageModel,
    text: Text,
    old: int,
    new: int,
    *,
    kinds: Sequence[str] = MEASURED,
    progress: Callable[[float], Any] = lambda _: None,
) -> Reach:
    """Measure how far a model reaches.

    Args:
        old: the length it was trained at.
        new: the length it is to reach.
        kinds: of retrieval; empty: none.
        progress: called with the share that is done, 0 to 1.
    """
    lengths = lengths_between(old, new)
    context = context_losses(
        model,
        text.store,
        lengths,
        trained_length=old,
        across_documents=text.across_documents,
        progress=lambda share: progress(0.4 * share),
    )
    short = evaluate(model, beginning(text.store, SHORT_TOKENS, text.tokenizer), context_length=old)
    progress(0.5)
    retrieved: list[Retrieved] = []
    for i, kind in enumerate(kinds):
        start, part = 0.5 + 0.5 * i / len(kinds), 0.5 / len(kinds)
        retrieved += retrieval(
            model,
            text.store,
            text.tokenizer,
            kind,
            lengths,
            progress=lambda share, start=start, part=part: progress(start + part * share),
        )
    progress(1.0)
    return Reach(context, short.loss_nats, short.standard_error, short.tokens, tuple(retrieved))


@dataclass(frozen=True)
class Change:
    """A paired difference of losses in nats: of the same tokens in the same windows.

    Args:
        mean: below 0 where the second is lower.
        error: its standard error, over documents where there are at least four, else over
            windows; None where there is only one.
    """

    mean: float
    error: float | None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval, None where there is none."""
        half = math.inf if self.error is None else 1.96 * self.error
        return None if math.isinf(half) else (self.mean - half, self.mean + half)


def gain(context: ContextLosses) -> Change | None:
    """Return what the whole new length changes in the loss of the targets, against the old one.

    None where one of them has no loss.
    """
    return between(context, context, context.lengths[0].context_length)


def between(
    first: ContextLosses, second: ContextLosses, first_length: int, second_length: int = 0
) -> Change | None:
    """Return the second's loss less the first's, each at a length; 0: the longest there is."""
    one, two = (
        next((each for each in part.lengths if each.context_length == length), part.lengths[-1])
        for part, length in ((first, first_length), (second, second_length))
    )
    if one.loss_nats is None or two.loss_nats is None:
        return None
    pairs = torch.tensor(two.window_losses).double() - torch.tensor(one.window_losses).double()
    return Change(*mean_and_error(pairs, documents_of(first.window_documents)))


def documents_of(windows: Sequence[int]) -> NDArray[np.int64] | None:
    """Return what windows belong to, for an error; None where they are of too few documents."""
    return np.array(windows) if len(set(windows)) >= FEWEST_DOCUMENTS else None


def in_words(change: Change | None) -> str:
    """Return whether longer context helps, in one sentence."""
    if change is None:
        return "What longer context does cannot be told: the model has no loss there."
    if change.interval is None:
        return f"With the whole length the same tokens cost {change.mean:+.3f} nats (no interval)."
    low, high = change.interval
    what = (
        "longer context helps"
        if high < 0
        else "longer context hurts"
        if low > 0
        else "longer context is survived, and no help that shows"
    )
    return (
        f"With the whole length the same tokens cost {change.mean:+.3f} nats "
        f"[{low:+.3f}, {high:+.3f}] against the old length: {what}."
    )
