"""Loss of the same tokens with growing context: does a model use more than it was trained on?

A window's loss mixes tokens that have little before them with tokens that have much, and windows
of another length ask for other tokens: both move with more than the context. Here the targets are
fixed, half a trained length L at the end of each window, and only how far back the model reads
changes: with a context of c tokens, at positions 0 to c - 1, each target is predicted from c/2 + 1
to c tokens up to the trained length, and from c - L/2 + 1 to c beyond it. Below the trained length
the targets are read a few at a time, c/2 of them, so that they stay the same. The loss of a model
that generalises falls or stays level; that of one that does not rises.

What the last doubling up to the trained length gains (`context_gain`) says whether a text and a
model can show anything about longer contexts at all: a model that gains nothing there loses nothing
by being unable to read further.

A length that an embedding cannot represent has no loss: it is marked, with the reason.

Not here: loss by position in windows of one length, and whole windows: see loss.py.
Masked-token models, which are not asked for the next token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from wordorder.errors import BadInput
from wordorder.evaluation.intervals import FEWEST_CLUSTERS, clusters_of, mean_of
from wordorder.evaluation.windows import (
    MOST_TARGETS,
    Windows,
    cut_windows,
    places,
    target_losses,
)
from wordorder.model import TokenModel
from wordorder.numerals import counted
from wordorder.positions import PositionError
from wordorder.text.store import TokenStore

FACTORS = (1, 2, 4, 8, 16)  # of the trained length
SHORTEST = 16  # tokens: where a curve begins that is to show the value of context

# Losses of one document go together: an error from fewer would itself be a guess.
FEWEST_DOCUMENTS = FEWEST_CLUSTERS
# Single tokens differ by about 2 nats, so a mean of fewer is uncertain by more than 0.06.
FEWEST_TARGETS = 1024


@dataclass(frozen=True)
class ContextLoss:
    """The loss of the targets with this much context.

    Args:
        context_length: tokens that the model reads, the last target's predecessor included.
        loss_nats: mean over all targets; None where it cannot be told.
        standard_error: of `loss_nats`, over documents, or over blocks of the text where it has too
            few; None with one window.
        window_losses: the mean of each window's targets, in the same order at every length.
        cannot: why there is no loss; None where there is one.
        degrees_of_freedom: of the t-interval of `loss_nats`; None where there is no error.
    """

    context_length: int
    loss_nats: float | None
    standard_error: float | None
    window_losses: tuple[float, ...]
    cannot: str | None = None
    degrees_of_freedom: float | None = None


@dataclass(frozen=True)
class ContextLosses:
    """Losses of the same targets at several lengths.

    Args:
        targets: tokens asked for, the same at every length.
        documents: in which they begin.
        lengths: shortest first.
        window_documents: the number of the document in which each window's targets begin.
    """

    targets: int
    documents: int
    lengths: tuple[ContextLoss, ...]
    window_documents: tuple[int, ...]

    @property
    def in_blocks(self) -> bool:
        """Whether errors are over blocks of the text, because its documents are too few."""
        return len(set(clusters_of(self.window_documents).tolist())) > self.documents


@dataclass(frozen=True)
class Gain:
    """What more context gains in the loss of the same targets.

    Args:
        mean: nats per token; above 0 where more context helps.
        low, high: the 95% interval of `mean`; None where there is one window.
        windows, documents: how many were read.
    """

    mean: float
    low: float | None
    high: float | None
    windows: int
    documents: int


@dataclass(frozen=True)
class Measurable:
    """Which context lengths a text can measure.

    Args:
        lengths: those that it can.
        left_out: why not the others, one sentence for each reason.
        note: what to know of the intervals; None where they are over documents.
    """

    lengths: tuple[int, ...]
    left_out: tuple[str, ...]
    note: str | None = None


def measurable(
    store: TokenStore,
    lengths: Sequence[int],
    *,
    trained_length: int,
    across_documents: bool = False,
) -> Measurable:
    """Return which context lengths this text can measure, and why not the others.

    If too few documents reach the trained length, the clusters are blocks of the long ones.

    Args:
        lengths: in tokens.
        trained_length: tokens in a training sequence.
        across_documents: windows may begin in one document and end in another.
    """
    lengths = sorted(set(lengths))
    documents, targets = {}, {}
    for length in lengths:
        size = _targets(trained_length, length)
        _, available = places(store, length, size, across_documents)
        documents[length], targets[length] = int((available > 0).sum()), int(available.sum()) * size
    _, reaching = places(store, min(trained_length, lengths[-1]), 1, False)
    blocks = across_documents or int((reaching > 0).sum()) < FEWEST_DOCUMENTS
    few = [n for n in lengths if not blocks and documents[n] < FEWEST_DOCUMENTS]
    short = [n for n in lengths if n not in few and targets[n] < FEWEST_TARGETS]
    left_out = []
    if few:
        left_out.append(
            f"{_contexts(few)} left out: {documents[few[0]] or 'none'} of the text's documents "
            f"{'reaches' if documents[few[0]] == 1 else 'reach'} {few[0]:,}, and "
            f"{FEWEST_DOCUMENTS} are needed: "
            "give longer documents, or let windows cross them with --pack"
        )
    if short:
        left_out.append(
            f"{_contexts(short)} left out: the text has {counted(targets[short[0]], 'token')} with "
            f"{short[0]:,} before them to ask for, and {FEWEST_TARGETS:,} are needed: "
            "give more text"
        )
    kept = tuple(n for n in lengths if n not in few and n not in short)
    note = None
    if kept and not across_documents and documents[kept[-1]] < FEWEST_DOCUMENTS:
        note = (
            f"{counted(documents[kept[-1]], 'document')} of the text "
            f"{'reaches' if documents[kept[-1]] == 1 else 'reach'} {kept[-1]:,} tokens: intervals "
            "are over blocks of the text, and say nothing of other texts"
        )
    return Measurable(kept, tuple(left_out), note)


def _contexts(lengths: Sequence[int]) -> str:
    """Return "a context of 64 tokens is" or "contexts of 64 to 512 tokens are"."""
    if len(lengths) == 1:
        return f"a context of {lengths[0]:,} tokens is"
    between = "and" if len(lengths) == 2 else "to"
    return f"contexts of {lengths[0]:,} {between} {lengths[-1]:,} tokens are"


def curve_lengths(trained_length: int, longest: int) -> tuple[int, ...]:
    """Return the lengths of a curve that shows the value of context: 16, 32, ... to the longest.

    The trained length is among them, where the curve reaches it.
    """
    lengths = {longest}
    length = trained_length
    while length >= SHORTEST:
        lengths.add(length)
        length //= 2
    length = 2 * trained_length
    while length < longest:
        lengths.add(length)
        length *= 2
    return tuple(sorted(n for n in lengths if n <= longest))


def context_losses(
    model: TokenModel,
    store: TokenStore,
    lengths: Sequence[int],
    *,
    trained_length: int,
    across_documents: bool = False,
    targets: int = 0,
    most_targets: int = MOST_TARGETS,
    progress: Callable[[float], Any] = lambda _: None,
) -> ContextLosses:
    """Measure a model's loss on the same targets at every one of some context lengths.

    Args:
        model: a causal one, transformer or GRU.
        store: the tokens.
        lengths: in tokens, as `measurable` keeps them.
        trained_length: tokens in a training sequence.
        across_documents: windows may begin in one document and end in another.
        targets: at the end of each window; 0: half the trained length.
        most_targets: how many tokens are asked for, about, where there are more.
        progress: called with the share that is done, 0 to 1.

    Raises:
        BadInput: no lengths, or no document as long as the longest.
    """
    if not lengths:
        raise BadInput("there is no context length to measure: give longer documents, or --pack")
    lengths = sorted(set(lengths))
    windows = cut_windows(
        store,
        lengths[-1],
        targets or _targets(trained_length, lengths[-1]),
        across_documents=across_documents,
        most_targets=most_targets,
    )
    if not len(windows):
        raise BadInput(
            f"no document of the text reaches {lengths[-1]:,} tokens: "
            "measure shorter contexts, or let windows cross documents with --pack"
        )
    total = sum(end - begin for n in lengths for begin, end, _ in _pieces(windows, n))
    done = 0

    def count(tokens: int) -> None:
        nonlocal done
        done += tokens
        progress(done / (total * len(windows)))

    measured = tuple(_at_length(model, windows, length, count) for length in lengths)
    progress(1.0)
    documents = tuple(windows.documents.tolist())
    return ContextLosses(len(windows) * windows.targets, len(set(documents)), measured, documents)


def context_gain(
    model: TokenModel,
    store: TokenStore,
    *,
    trained_length: int,
    across_documents: bool = False,
    targets: int = 0,
    most_targets: int = MOST_TARGETS,
) -> Gain:
    """Return what the last doubling of context up to the trained length gains.

    Args:
        model: a causal one, transformer or GRU.
        store: the tokens.
        trained_length: tokens in a training sequence, at least 4.
        across_documents: windows may begin in one document and end in another.
        targets, most_targets: as `context_losses` takes them; few targets in a window have nearly
            all of its context.

    Raises:
        BadInput: no document as long as the trained length, or an embedding that cannot read it.
    """
    losses = context_losses(
        model,
        store,
        (trained_length // 2, trained_length),
        trained_length=trained_length,
        across_documents=across_documents,
        targets=targets,
        most_targets=most_targets,
    )
    half, whole = losses.lengths
    for each in (half, whole):
        if each.cannot is not None:
            raise BadInput(f"a context of {each.context_length:,} tokens: {each.cannot}")
    gained = torch.tensor(half.window_losses) - torch.tensor(whole.window_losses)
    estimate = mean_of(gained, clusters_of(losses.window_documents))
    low, high = estimate.interval or (None, None)
    return Gain(estimate.mean, low, high, len(gained), losses.documents)


def _targets(trained_length: int, longest: int) -> int:
    """Return how many tokens each window is asked for."""
    return max(1, min(trained_length, longest) // 2)


def _pieces(windows: Windows, length: int) -> list[tuple[int, int, int]]:
    """Return what is read of a window: begin, end and how many tokens at the end are targets.

    From the trained length on it is one piece. With less context each piece has half its length
    in targets, or every piece but the first would have to read further back than it may.
    """
    last, targets = windows.tokens.shape[1], windows.targets
    if length >= 2 * targets:
        return [(last - length - 1, last, targets)]
    step, pieces = max(1, length // 2), []
    for first in range(last - targets, last, step):
        end = min(first + step, last)
        pieces.append((end - length - 1, end, end - first))
    return pieces


def _at_length(
    model: TokenModel, windows: Windows, length: int, progress: Callable[[int], Any]
) -> ContextLoss:
    losses = torch.zeros(len(windows), dtype=torch.float64)
    try:
        for begin, end, targets in _pieces(windows, length):
            part = target_losses(model, windows.tokens[:, begin:end], targets, progress=progress)
            losses += part * (targets / windows.targets)
    except (BadInput, PositionError) as error:
        return ContextLoss(length, None, None, (), cannot=str(error))
    found = mean_of(losses, windows.clusters)
    if not math.isfinite(found.mean):
        return ContextLoss(length, None, None, (), cannot="its losses there are no finite numbers")
    return ContextLoss(
        length,
        found.mean,
        found.standard_error,
        tuple(losses.tolist()),
        degrees_of_freedom=found.degrees_of_freedom,
    )
