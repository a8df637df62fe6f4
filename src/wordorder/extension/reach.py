"""Measurements of a run before and after an extension.

Both runs are measured on the same tokens, so that differences are paired: the loss of the same
targets with growing context, the loss at the old length, which scaling often increases, and
retrieval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from wordorder.errors import BadInput
from wordorder.evaluation.context import ContextLosses, context_losses
from wordorder.evaluation.effect import direction, of_context
from wordorder.evaluation.intervals import Estimate, clusters_of, mean_of
from wordorder.evaluation.loss import Loss, evaluate
from wordorder.evaluation.retrieval import Retrieved, retrieval
from wordorder.evaluation.windows import places
from wordorder.model import LanguageModel
from wordorder.numerals import counted, signed
from wordorder.text.store import TokenStore, beginning
from wordorder.text.tokenizer import Tokenizer

SHORT_TOKENS = 1 << 16  # for the loss at the old length
MEASURED = ("passkey", "recall")  # retrieval tasks
# Outcomes by the direction of a difference in loss, and by the effect of longer context.
AT_EQUAL_LENGTH = {-1: "better than", 1: "worse than", 0: "not significantly different from"}
ACROSS = {-1: "a lower loss", 1: "a higher loss", 0: "no significant difference"}
WITH_CONTEXT = {
    "uses it": "it uses longer context",
    "survives": "it survives longer context",
    "breaks": "longer context breaks it",
    "undecided": "undecided whether it survives longer context",
}


@dataclass(frozen=True)
class HeldOutText:
    """The held-out text to measure on.

    Args:
        across_documents: whether windows may cross document boundaries.
    """

    store: TokenStore
    tokenizer: Tokenizer
    across_documents: bool = False


@dataclass(frozen=True)
class RunMeasurements:
    """The measurements of one run.

    Args:
        context: loss of the same targets with contexts from the old length to the new one.
        short: the loss at the old length, in disjoint windows.
        retrieved: accuracy by task, length and depth.
    """

    context: ContextLosses
    short: Loss
    retrieved: tuple[Retrieved, ...] = ()


def lengths_between(old: int, new: int) -> tuple[int, ...]:
    """Return the context lengths to measure: the old one, its doublings, and the new one."""
    lengths = [old]
    while lengths[-1] * 2 < new:
        lengths.append(lengths[-1] * 2)
    return (*lengths, new)


def check_long_enough(text: HeldOutText, old: int, new: int, name: str) -> None:
    """Check that the text has a window of the new length.

    Raises:
        BadInput: it has none; the message gives the longest document.
    """
    _, available = places(text.store, new, max(1, old // 2), text.across_documents)
    if int(available.sum()):
        return
    if text.across_documents:
        raise BadInput(
            f"the held-out part of {name} has {counted(len(text.store), 'token')}, fewer than "
            f"{new:,}: give more text with --data",
            code="extension.text-too-short",
        )
    longest = int(text.store.sizes.max())
    raise BadInput(
        f"no held-out document of {name} has {new:,} tokens, the longest has {longest:,}: give "
        "longer ones with --data, a shorter --to, or let windows cross document boundaries with "
        "--pack",
        code="extension.documents-too-short",
    )


def measure(
    model: LanguageModel,
    text: HeldOutText,
    old: int,
    new: int,
    *,
    kinds: Sequence[str] = MEASURED,
    progress: Callable[[float], Any] = lambda _: None,
) -> RunMeasurements:
    """Measure a model at lengths from the old one to the new one.

    Args:
        old: the parent's trained length.
        new: the new length.
        kinds: retrieval tasks; empty: none.
        progress: called with the fraction done, 0 to 1.
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

        def report(share: float, done: int = i) -> None:
            progress(0.5 + 0.5 * (done + share) / len(kinds))

        retrieved += retrieval(model, text.store, text.tokenizer, kind, lengths, progress=report)
    progress(1.0)
    return RunMeasurements(context, short, tuple(retrieved))


def gain(context: ContextLosses) -> Estimate | None:
    """Return the change in loss from the shortest context to the longest.

    None if one of them has no loss.
    """
    return between(context, context, context.lengths[0].context_length)


def between(
    first: ContextLosses, second: ContextLosses, first_length: int, second_length: int = 0
) -> Estimate | None:
    """Return the paired difference of two losses, `second` minus `first`, each at a length.

    Args:
        first_length, second_length: in tokens; 0: the longest.

    Returns:
        The difference, negative if the second loss is lower; None if one of them has no loss.
    """
    one, two = (
        next((loss for loss in part.lengths if loss.context_length == length), part.lengths[-1])
        for part, length in ((first, first_length), (second, second_length))
    )
    if one.loss_nats is None or two.loss_nats is None:
        return None
    pairs = torch.tensor(two.window_losses).double() - torch.tensor(one.window_losses).double()
    return mean_of(pairs, clusters_of(first.window_documents))


def verdict(before: ContextLosses, after: ContextLosses) -> str:
    """Summarise an extension in sentences that follow from paired differences.

    Args:
        before, after: losses of the parent and of the new run, on the same targets and lengths.
    """
    old, new = (before.lengths[n].context_length for n in (0, -1))
    sentences = [
        _compared(
            between(before, after, old, new),
            f"The new run with {new:,} tokens of context against its parent with {old:,}",
            lambda low, high: ACROSS[direction(low, high)],
        ),
        _compared(
            gain(after),
            f"The new run with {new:,} tokens of context against itself with {old:,}",
            lambda low, high: WITH_CONTEXT[of_context(low, high)],
        ),
    ]
    return " ".join([*sentences, *_by_length(before, after)])


def _compared(change: Estimate | None, what: str, outcome: Callable[[float, float], str]) -> str:
    """Describe a difference, its interval, and the outcome that follows from the interval."""
    if change is None:
        return f"{what}: cannot be compared, because one of them has no loss."
    if change.interval is None:
        return f"{what}: {signed(change.mean)} nats, from a single window, without an interval."
    low, high = change.interval
    numbers = f"{signed(change.mean)} nats [{signed(low)}, {signed(high)}]"
    return f"{what}: {numbers}: {outcome(low, high)}."


def _by_length(before: ContextLosses, after: ContextLosses) -> list[str]:
    """Describe at which lengths the new run is better or worse than its parent."""
    groups: dict[str, list[str]] = {}
    for loss in before.lengths:
        length = loss.context_length
        change = between(before, after, length, length)
        if change is not None and change.interval is not None:
            word = AT_EQUAL_LENGTH[direction(*change.interval)]
            groups.setdefault(word, []).append(f"{length:,}")
    if not groups:
        return []
    if len(groups) == 1 and len(before.lengths) > 1:
        (word, lengths), *_ = groups.items()
        if len(lengths) == len(before.lengths):
            return [f"At every context length, the new run is {word} its parent."]
    parts = [f"{word} its parent at {', '.join(lengths)}" for word, lengths in groups.items()]
    return [f"At equal context lengths, the new run is {'; '.join(parts)}."]
