"""Loss of the same target tokens as a function of context length.

Comparing losses over windows of different lengths would confound two things: a window's loss
averages over short and long contexts, and other windows have other targets. Here the targets are
fixed, the last half trained length L of each window, and only the context changes: with a context
of c tokens, at positions 0 to c - 1, each target is predicted from c/2 + 1 to c tokens if c <= L,
and from c - L/2 + 1 to c tokens if c > L.

    c >= L    |<------------ c ------------>|          one pass, L/2 targets at its end
                                    |targets|
    c < L                   |<-- c -->|                several passes, c/2 targets each
                                  |<-- c -->|

The loss of a model that extrapolates falls or stays level beyond L; otherwise it rises.

`context_gain` is the gain of the last doubling up to L. Without such a gain the measurement says
nothing about longer contexts: a model that does not use distant tokens loses nothing if it fails
to read them.

A length that an embedding cannot represent has a reason (`cannot`) instead of a loss. For loss by
position in windows of one length see loss.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
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
    token_losses,
)
from wordorder.model import TokenModel
from wordorder.numerals import counted
from wordorder.positions import PositionError
from wordorder.text.store import TokenStore

FACTORS = (1, 2, 4, 8, 16)  # of the trained length
SHORTEST = 16  # tokens; shorter contexts say nothing about length extrapolation

# Losses within a document are correlated; fewer documents give no usable standard error.
FEWEST_DOCUMENTS = FEWEST_CLUSTERS
# The standard deviation of single tokens is about 2 nats: a mean of fewer is off by over 0.06.
FEWEST_TARGETS = 1024


@dataclass(frozen=True)
class ContextLoss:
    """The loss of the targets at one context length.

    Args:
        context_length: tokens that the model reads, up to the one before the last target.
        loss_nats: mean over all targets; None if it cannot be measured.
        standard_error: of `loss_nats`, over documents, or over blocks of the text if it has too
            few documents; None with one window.
        window_losses: the mean of each window's targets; windows have the same order at every
            length.
        cannot: why there is no loss; None if there is one.
        degrees_of_freedom: of the t-interval of `loss_nats`; None without an error.
    """

    context_length: int
    loss_nats: float | None
    standard_error: float | None
    window_losses: tuple[float, ...]
    cannot: str | None = None
    degrees_of_freedom: float | None = None


@dataclass(frozen=True)
class ContextLosses:
    """Losses of the same targets at several context lengths.

    Args:
        targets: the number of target tokens, the same at every length.
        documents: the number of documents with targets.
        lengths: shortest first.
        window_documents: the number of the document in which each window's targets begin.
    """

    targets: int
    documents: int
    lengths: tuple[ContextLoss, ...]
    window_documents: tuple[int, ...]

    @property
    def in_blocks(self) -> bool:
        """Whether errors are over blocks of the text, because it has too few documents."""
        return len(set(clusters_of(self.window_documents).tolist())) > self.documents


@dataclass(frozen=True)
class Gain:
    """The reduction in loss from more context, on the same targets.

    Args:
        mean: nats per token; positive if more context helps.
        low, high: the 95% interval of `mean`; None with one window.
        windows, documents: the numbers measured.
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
        lengths: the lengths with enough text.
        left_out: one sentence for each reason why a length is missing.
        note: a caveat on the intervals; None if they are over documents.
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
    """Return which context lengths a text can measure, and why not the others.

    If too few documents reach the trained length, errors are over blocks of the long ones.

    Args:
        lengths: context lengths in tokens.
        trained_length: tokens in a training sequence.
        across_documents: whether windows may cross document boundaries.
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
            f"{_contexts(few)} left out: {_reaching(documents, few[0])}, and {FEWEST_DOCUMENTS} "
            "are needed: give longer documents, or let windows cross document boundaries with "
            "--pack"
        )
    if short:
        rest = counted(targets[short[0]], "target token")
        left_out.append(
            f"{_contexts(short)} left out: the text has {rest} with {short[0]:,} tokens of "
            f"context, and {FEWEST_TARGETS:,} are needed: give more text"
        )
    enough = tuple(n for n in lengths if n not in few and n not in short)
    note = None
    if enough and not across_documents and documents[enough[-1]] < FEWEST_DOCUMENTS:
        note = (
            f"{_reaching(documents, enough[-1])}: intervals are over blocks of this text and do "
            "not cover other texts"
        )
    return Measurable(enough, tuple(left_out), note)


def _reaching(documents: dict[int, int], length: int) -> str:
    """Return "1 document of the text reaches 64 tokens"."""
    number = documents[length]
    verb = "reaches" if number == 1 else "reach"
    return f"{counted(number, 'document')} of the text {verb} {length:,} tokens"


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
    lengths: Iterable[int],
    *,
    trained_length: int,
    across_documents: bool = False,
    targets: int = 0,
    most_targets: int = MOST_TARGETS,
    progress: Callable[[float], Any] = lambda _: None,
) -> ContextLosses:
    """Measure a model's loss on the same targets at several context lengths.

    Args:
        model: a causal transformer or GRU.
        store: the tokens.
        lengths: in tokens, each at least 1, such as `Measurable.lengths`.
        trained_length: tokens in a training sequence.
        across_documents: whether windows may cross document boundaries.
        targets: target tokens at the end of each window, at most the longest length; 0: half the
            trained length. If this exceeds half the longest length, the first targets get less
            context than the others, because their window has too few tokens before them.
        most_targets: the approximate number of targets to use if the text has more.
        progress: called with the fraction done, 0 to 1.

    Raises:
        BadInput: `lengths` is empty or below 1, `targets` exceeds the longest, or no document is
            as long as the longest.
    """
    lengths = _ascending(lengths)
    windows = context_windows(
        store,
        lengths[-1],
        trained_length=trained_length,
        across_documents=across_documents,
        targets=targets,
        most_targets=most_targets,
    )
    total = sum(end - begin for n in lengths for begin, end, _ in windows.passes(n))
    done = 0

    def count(tokens: int) -> None:
        nonlocal done
        done += tokens
        progress(done / (total * len(windows)))

    measured = tuple(_at_length(model, windows, length, count) for length in lengths)
    progress(1.0)
    documents = tuple(windows.documents.tolist())
    return ContextLosses(len(windows) * windows.targets, len(set(documents)), measured, documents)


def context_windows(
    store: TokenStore,
    longest: int,
    *,
    trained_length: int,
    across_documents: bool = False,
    targets: int = 0,
    most_targets: int = MOST_TARGETS,
) -> Windows:
    """Return the windows whose targets `context_losses` measures; arguments as there.

    Args:
        longest: the longest context length.

    Raises:
        BadInput: `targets` exceeds the longest length, or no document is so long.
    """
    windows = cut_windows(
        store,
        longest,
        targets or _targets(trained_length, longest),
        across_documents=across_documents,
        most_targets=most_targets,
    )
    if not len(windows):
        raise BadInput(
            f"no document of the text reaches {longest:,} tokens: measure shorter contexts, or "
            "let windows cross document boundaries with --pack",
            code="evaluation.no-document-so-long",
        )
    return windows


def losses_in_window(model: TokenModel, windows: Windows, length: int, number: int) -> torch.Tensor:
    """Return the loss in nats of each target of one window at a context length, (targets,).

    Their mean is the window's in `context_losses`.

    Raises:
        PositionError: the embedding cannot represent that length.
    """
    tokens = windows.tokens[number : number + 1]
    parts = (token_losses(model, tokens[:, i:end], n)[0] for i, end, n in windows.passes(length))
    return torch.cat(list(parts))


def context_gain(
    model: TokenModel,
    store: TokenStore,
    *,
    trained_length: int,
    across_documents: bool = False,
    targets: int = 0,
    most_targets: int = MOST_TARGETS,
) -> Gain:
    """Measure the gain of the last doubling of context up to the trained length.

    Args:
        model: a causal transformer or GRU.
        store: the tokens.
        trained_length: tokens in a training sequence, at least 4.
        across_documents: whether windows may cross document boundaries.
        targets, most_targets: as in `context_losses`; with few targets each has nearly the whole
            context.

    Raises:
        BadInput: no document is as long as the trained length, or the embedding cannot read it.
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
    for loss in (half, whole):
        if loss.cannot is not None:
            raise BadInput(
                f"a context of {loss.context_length:,} tokens cannot be measured: {loss.cannot}",
                code="evaluation.context-cannot-be-measured",
            )
    gained = torch.tensor(half.window_losses) - torch.tensor(whole.window_losses)
    estimate = mean_of(gained, clusters_of(losses.window_documents))
    low, high = estimate.interval or (None, None)
    return Gain(estimate.mean, low, high, len(gained), losses.documents)


def _ascending(lengths: Iterable[int]) -> list[int]:
    ascending = sorted({int(length) for length in lengths})
    if not ascending:
        raise BadInput(
            "no context length can be measured: give longer documents, or --pack",
            code="evaluation.no-context-length",
        )
    if ascending[0] < 1:
        raise BadInput(
            f"lengths holds {ascending[0]}: a context has at least 1 token",
            code="evaluation.context-length-below-one",
        )
    return ascending


def _targets(trained_length: int, longest: int) -> int:
    """Return the number of target tokens in a window."""
    return max(1, min(trained_length, longest) // 2)


def _at_length(
    model: TokenModel, windows: Windows, length: int, progress: Callable[[int], Any]
) -> ContextLoss:
    losses = torch.zeros(len(windows), dtype=torch.float64)
    try:
        for begin, end, targets in windows.passes(length):
            part = target_losses(model, windows.tokens[:, begin:end], targets, progress=progress)
            losses += part * (targets / windows.targets)
    except (BadInput, PositionError) as error:
        return ContextLoss(length, None, None, (), cannot=str(error))
    mean = mean_of(losses, windows.clusters)
    if not math.isfinite(mean.mean):
        return ContextLoss(length, None, None, (), cannot="the loss is NaN or infinite")
    return ContextLoss(
        length,
        mean.mean,
        mean.standard_error,
        tuple(losses.tolist()),
        degrees_of_freedom=mean.degrees_of_freedom,
    )
