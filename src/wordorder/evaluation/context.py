"""Loss of the same tokens with growing context: does a model use more than it was trained on?

A window's loss mixes tokens that have little before them with tokens that have much, and windows
of another length ask for other tokens: both move with more than the context. Here the targets are
fixed, half a trained length L at the end of each window, and only how far back the model reads
changes: c tokens, at positions 0 to c - 1. At the trained length a target is predicted from
L/2 + 1 to L tokens, at 16 times that from 15.5 L + 1 to 16 L. The loss of a model that generalises
falls or stays level; that of one that does not rises.

A length that an embedding cannot represent has no loss: it is marked, with the reason.

Not here: loss by position in windows of one length, and whole windows: see loss.py.
Masked-token models, which are not asked for the next token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from wordorder.errors import BadInput
from wordorder.evaluation.windows import (
    MOST_TARGETS,
    Windows,
    cut_windows,
    mean_and_error,
    places,
    target_losses,
)
from wordorder.model import TokenModel
from wordorder.positions import PositionError
from wordorder.text.store import TokenStore

FACTORS = (1, 2, 4, 8, 16)  # of the trained length

# Losses of one document go together: an error from fewer would itself be a guess.
FEWEST_DOCUMENTS = 4
# Single tokens differ by about 2 nats, so a mean of fewer is uncertain by more than 0.06.
FEWEST_TARGETS = 1024


@dataclass(frozen=True)
class ContextLoss:
    """The loss of the targets with this much context.

    Args:
        context_length: tokens that the model reads, the last target's predecessor included.
        loss_nats: mean over all targets; None where it cannot be told.
        standard_error: of `loss_nats`, over documents; None where there is only one.
        window_losses: the mean of each window's targets, in the same order at every length.
        cannot: why there is no loss; None where there is one.
    """

    context_length: int
    loss_nats: float | None
    standard_error: float | None
    window_losses: tuple[float, ...]
    cannot: str | None = None


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


@dataclass(frozen=True)
class Measurable:
    """Which lengths a text has enough long documents for; a sentence for each other."""

    lengths: tuple[int, ...]
    left_out: tuple[str, ...]


def measurable(
    store: TokenStore,
    lengths: Sequence[int],
    *,
    trained_length: int,
    across_documents: bool = False,
) -> Measurable:
    """Return which context lengths this text can measure, and why not the others.

    Args:
        lengths: in tokens, none shorter than the targets, half the trained length.
        trained_length: tokens in a training sequence.
        across_documents: windows may begin in one document and end in another.
    """
    kept, left_out = [], []
    for length in sorted(set(lengths)):
        size = _targets(trained_length, length)
        _, available = places(store, length, size, across_documents)
        documents, targets = int((available > 0).sum()), int(available.sum()) * size
        if not across_documents and documents < FEWEST_DOCUMENTS:
            left_out.append(
                f"a context of {length:,} tokens is left out: of the text's documents "
                f"{documents or 'none'} reach it, and {FEWEST_DOCUMENTS} are needed: "
                "give longer documents, or let windows cross them with --pack"
            )
        elif targets < FEWEST_TARGETS:
            left_out.append(
                f"a context of {length:,} tokens is left out: the text has {targets:,} tokens "
                f"with so much before them to ask for, and {FEWEST_TARGETS:,} are needed: "
                "give more text"
            )
        else:
            kept.append(length)
    return Measurable(tuple(kept), tuple(left_out))


def context_losses(
    model: TokenModel,
    store: TokenStore,
    lengths: Sequence[int],
    *,
    trained_length: int,
    across_documents: bool = False,
    most_targets: int = MOST_TARGETS,
    progress: Callable[[float], Any] = lambda _: None,
) -> ContextLosses:
    """Measure a model's loss on the same targets at every one of some context lengths.

    Args:
        model: a causal one, transformer or GRU.
        store: the tokens.
        lengths: in tokens, as `measurable` keeps them.
        trained_length: tokens in a training sequence; the targets are half of it in each window.
        across_documents: windows may begin in one document and end in another.
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
        _targets(trained_length, lengths[0]),
        across_documents=across_documents,
        most_targets=most_targets,
    )
    if not len(windows):
        raise BadInput(
            f"no document of the text reaches {lengths[-1]:,} tokens: "
            "measure shorter contexts, or let windows cross documents with --pack"
        )
    total, read = len(windows) * sum(lengths), 0

    def count(tokens: int) -> None:
        nonlocal read
        read += tokens
        progress(read / total)

    found = tuple(_at_length(model, windows, length, count) for length in lengths)
    progress(1.0)
    documents = tuple(windows.documents.tolist())
    return ContextLosses(len(windows) * windows.targets, len(set(documents)), found, documents)


def _targets(trained_length: int, length: int) -> int:
    targets = max(1, trained_length // 2)
    if length < targets:
        raise BadInput(
            f"a context of {length} tokens is shorter than the {targets} that are asked for: "
            "measure the trained length and multiples of it"
        )
    return targets


def _at_length(
    model: TokenModel, windows: Windows, length: int, progress: Callable[[int], Any]
) -> ContextLoss:
    tokens = windows.tokens[:, -length - 1 :]
    try:
        losses = target_losses(model, tokens, windows.targets, progress=progress)
    except (BadInput, PositionError) as error:
        return ContextLoss(length, None, None, (), cannot=str(error))
    mean, standard_error = mean_and_error(losses, windows.documents)
    if not math.isfinite(mean):
        return ContextLoss(length, None, None, (), cannot="its losses there are no finite numbers")
    return ContextLoss(length, mean, standard_error, tuple(losses.tolist()))
