"""Order probes: how much worse a model predicts when the order before its targets is changed.

The targets are the last quarter of a window of the trained length, and they and everything
between them stay where they are; so does the token that the first of them follows. What comes
before is changed in order only: the same tokens, swapped or shuffled or reversed. A model that
reads a bag of words loses nothing; one that uses order near by loses when neighbours are swapped;
one that uses the order of what is far away only when everything is shuffled.

Targets still follow their own neighbours, so an increase says what the order of the *earlier*
context was worth. The causal mask alone tells order from the second layer on: a model without
positional embedding need not be blind.

One more probe moves no token: all positions grow by the same number. It costs a relative
embedding nothing.

Not here: windows of another length, see context.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from wordorder.errors import BadInput
from wordorder.evaluation.windows import (
    MOST_TARGETS,
    cut_windows,
    mean_and_error,
    target_losses,
)
from wordorder.model import TokenModel
from wordorder.positions import PositionError
from wordorder.text.store import TokenStore

NEAR = 8  # tokens among which a near shuffle moves one: a phrase


def swap_neighbours(tokens: Tensor, generator: Generator) -> Tensor:
    """Return tokens (rows, time) with the first and second swapped, the third and fourth, ..."""
    order = torch.arange(tokens.shape[1]) ^ 1
    if tokens.shape[1] % 2:
        order[-1] = len(order) - 1
    return tokens[:, order]


def shuffle_near(tokens: Tensor, generator: Generator) -> Tensor:
    """Return tokens (rows, time) shuffled within stretches of 8."""
    stretch = torch.arange(tokens.shape[1]) // NEAR
    draw = torch.rand(tokens.shape, generator=generator, dtype=torch.float64)
    return tokens.gather(1, (stretch + draw).argsort(1))


def shuffle(tokens: Tensor, generator: Generator) -> Tensor:
    """Return tokens (rows, time) in any order, another one in each row."""
    draw = torch.rand(tokens.shape, generator=generator, dtype=torch.float64)
    return tokens.gather(1, draw.argsort(1))


def reverse(tokens: Tensor, generator: Generator) -> Tensor:
    """Return tokens (rows, time) from the last to the first."""
    return tokens.flip(1)


@dataclass(frozen=True)
class Probe:
    """A change of the order of a context, and its meaning in one line."""

    meaning: str
    change: Callable[[Tensor, Generator], Tensor]


PROBES: dict[str, Probe] = {
    "swapped": Probe("every two neighbours trade places", swap_neighbours),
    "shuffled-near": Probe(f"tokens move within stretches of {NEAR}", shuffle_near),
    "shuffled": Probe("the whole context is in random order", shuffle),
    "reversed": Probe("the whole context is read backwards", reverse),
}
SHIFTED = "shifted"


@dataclass(frozen=True)
class ProbeLoss:
    """What one change does to the loss of the targets.

    Args:
        name, meaning: of the probe.
        loss_nats: of the targets after the change; None where it cannot be told.
        increase_nats: over the loss without it.
        standard_error: of `increase_nats`, over windows paired with themselves; None with one.
        cannot: why there is no loss; None where there is one.
    """

    name: str
    meaning: str
    loss_nats: float | None
    increase_nats: float | None
    standard_error: float | None
    cannot: str | None = None


@dataclass(frozen=True)
class OrderLosses:
    """The loss of some targets, and what each probe does to it.

    Args:
        targets, windows: how many.
        loss_nats: with everything in its place.
        standard_error: of `loss_nats`, over windows; None with one.
        probes: one for each, `shifted` last.
    """

    targets: int
    windows: int
    loss_nats: float
    standard_error: float | None
    probes: tuple[ProbeLoss, ...]


def order_losses(
    model: TokenModel,
    store: TokenStore,
    *,
    trained_length: int,
    shift: int | None = None,
    seed: int = 0,
    most_targets: int = MOST_TARGETS,
) -> OrderLosses:
    """Measure what every probe does to a model's loss on the same targets.

    Args:
        model: a causal one, transformer or GRU.
        store: the tokens; windows go through them as in training, across documents.
        trained_length: tokens in a window; its last quarter is asked for.
        shift: what is added to all positions; by default the trained length, so that none of
            them was seen in training.
        seed: what permutations are drawn from, the same for every model.
        most_targets: how many tokens are asked for, about, where there are more.

    Raises:
        BadInput: a text shorter than one window.
    """
    targets = max(1, trained_length // 4)
    windows = cut_windows(
        store, trained_length, targets, across_documents=True, most_targets=most_targets
    )
    if not len(windows):
        raise BadInput(
            f"the text is {len(store):,} tokens, shorter than one window of {trained_length:,}: "
            "give more text"
        )
    plain = target_losses(model, windows.tokens, targets)
    found = []
    for name, probe in PROBES.items():
        changed = _changed(windows.tokens, targets, probe, seed)
        losses = target_losses(model, changed, targets)
        found.append(_summary(name, probe.meaning, losses, plain))
    by = trained_length if shift is None else shift
    found.append(_shifted(model, windows.tokens, plain, targets, by))
    return OrderLosses(len(windows) * targets, len(windows), *mean_and_error(plain), tuple(found))


def _changed(tokens: Tensor, targets: int, probe: Probe, seed: int) -> Tensor:
    """Return windows (rows, time + 1) with their context changed, and nothing from there on.

    The token that the first target follows stays: where it is read, the first target is asked
    for, and a model that knows nothing but pairs of tokens would seem to know order.
    """
    context = tokens.shape[1] - 1 - targets
    changed = tokens.clone()
    changed[:, :context] = probe.change(tokens[:, :context], Generator().manual_seed(seed))
    return changed


def _shifted(model: TokenModel, tokens: Tensor, plain: Tensor, targets: int, by: int) -> ProbeLoss:
    meaning = f"all positions grow by {by:,}; tokens stay"
    positions = torch.arange(tokens.shape[1] - 1)[None] + by
    try:
        losses = target_losses(model, tokens, targets, positions=positions)
    except (BadInput, PositionError) as error:
        return ProbeLoss(SHIFTED, meaning, None, None, None, cannot=str(error))
    return _summary(SHIFTED, meaning, losses, plain)


def _summary(name: str, meaning: str, losses: Tensor, plain: Tensor) -> ProbeLoss:
    increase, error = mean_and_error(losses - plain)
    mean = float(losses.mean())
    if not math.isfinite(mean):
        return ProbeLoss(name, meaning, None, None, None, "its losses are no finite numbers")
    return ProbeLoss(name, meaning, mean, increase, error)
