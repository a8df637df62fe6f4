"""How far a model reaches: what it does with more context, and with no more than before.

Everything is asked of the same tokens before and after, so that what a method changes is seen
window by window: the loss of the same targets with growing context, the loss at the old length,
which scaling often costs, and what the model finds of what it has read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from wordorder.errors import BadInput
from wordorder.evaluation.context import ContextLosses, context_losses
from wordorder.evaluation.intervals import Estimate, clusters_of, mean_of
from wordorder.evaluation.loss import Loss, evaluate
from wordorder.evaluation.retrieval import Retrieved, retrieval
from wordorder.evaluation.windows import places
from wordorder.model import LanguageModel
from wordorder.numerals import counted, signed
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
        short: the loss at the old length, in whole windows.
        retrieved: what was found of what was read, by kind, length and depth.
    """

    context: ContextLosses
    short: Loss
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
            f"the held-out part of {name} has {counted(len(text.store), 'token')}, fewer than "
            f"{new:,}: give more text with --data"
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
    return Reach(context, short, tuple(retrieved))


def gain(context: ContextLosses) -> Estimate | None:
    """Return what the whole new length changes in the loss of the targets, against the old one.

    None where one of them has no loss.
    """
    return between(context, context, context.lengths[0].context_length)


def between(
    first: ContextLosses, second: ContextLosses, first_length: int, second_length: int = 0
) -> Estimate | None:
    """Return the second's loss less the first's, window by window, each at a length.

    Args:
        first_length, second_length: in tokens; 0: the longest there is.

    Returns:
        None where one of the two has no loss. Below 0 where the second's is lower.
    """
    one, two = (
        next((each for each in part.lengths if each.context_length == length), part.lengths[-1])
        for part, length in ((first, first_length), (second, second_length))
    )
    if one.loss_nats is None or two.loss_nats is None:
        return None
    pairs = torch.tensor(two.window_losses).double() - torch.tensor(one.window_losses).double()
    return mean_of(pairs, clusters_of(first.window_documents))


def verdict(before: ContextLosses, after: ContextLosses) -> str:
    """Return what an extension did, in sentences that follow from paired differences.

    Args:
        before, after: of the parent and of the new run, on the same targets and lengths.
    """
    old, new = (before.lengths[n].context_length for n in (0, -1))
    said = [
        _compared(
            between(before, after, old, new),
            f"The new run with {new:,} tokens against its parent with {old:,}",
            ("reading further helps", "reading further hurts", "no difference is shown"),
        ),
        _compared(
            gain(after),
            f"The new run with {new:,} against itself with {old:,}",
            ("it uses longer context", "longer context hurts it", "no use of it is shown"),
        ),
    ]
    return " ".join([*said, *_by_length(before, after)])


def _compared(change: Estimate | None, what: str, outcomes: tuple[str, str, str]) -> str:
    """Return a difference with its interval and what follows: lower, higher, or neither."""
    if change is None:
        return f"{what}: cannot be told, one of them has no loss there."
    if change.interval is None:
        return f"{what}: {signed(change.mean)} nats, of one window and so without an interval."
    low, high = change.interval
    lower, higher, neither = outcomes
    outcome = lower if high < 0 else higher if low > 0 else neither
    return f"{what}: {signed(change.mean)} nats [{signed(low)}, {signed(high)}], {outcome}."


def _by_length(before: ContextLosses, after: ContextLosses) -> list[str]:
    """Return at which lengths the new run is better or worse than its parent."""
    groups: dict[str, list[str]] = {}
    for each in before.lengths:
        length = each.context_length
        change = between(before, after, length, length)
        if change is not None and change.interval is not None:
            low, high = change.interval
            word = "better" if high < 0 else "worse" if low > 0 else "not told apart"
            groups.setdefault(word, []).append(f"{length:,}")
    if not groups:
        return []
    if len(groups) == 1 and len(before.lengths) > 1:
        (word, lengths), *_ = groups.items()
        if len(lengths) == len(before.lengths):
            return [f"At every length, it is {word} {_parent(word)}."]
    parts = [f"{word} {_parent(word)} at {', '.join(each)}" for word, each in groups.items()]
    return [f"At equal lengths, it is {'; '.join(parts)}."]


def _parent(word: str) -> str:
    return "from its parent" if word == "not told apart" else "than its parent"
