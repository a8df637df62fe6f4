"""Order probes: how much worse a model predicts when the order before its targets is changed.

The targets are the last quarter of a window of the trained length, and they and everything
between them stay where they are; so does the token that the first of them follows. What comes
before is changed in order only: the same tokens, swapped or shuffled or reversed. A model that
reads a bag of words loses nothing; one that uses order near by loses when neighbours are swapped;
one that uses the order of what is far away only when everything is shuffled.

Targets still follow their own neighbours, so an increase says what the order of the *earlier*
context was worth. The causal mask alone tells order from the second layer on: a model without
positional embedding need not be blind.

Two more probes move no token. All positions grow by the same number: it costs a relative
embedding nothing. Or those of the targets and what they follow grow, as if something had been
cut out before them: it costs nothing where positions are not looked at.

How far back order is used at all is asked of one token in a window: what is farther before it
than some distance is shuffled, then what is farther than twice that, and so on. So a model that
knows nothing but pairs of tokens is told from a bag of words: it loses only where its neighbour
moves.

Not here: windows of another length, see context.py; embeddings taken out, see removal.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from numpy.typing import ArrayLike
from torch import Generator, Tensor

from wordorder.errors import BadInput
from wordorder.evaluation.intervals import mean_of
from wordorder.evaluation.windows import (
    MOST_TARGETS,
    Windows,
    cut_windows,
    target_losses,
)
from wordorder.model import TokenModel
from wordorder.numerals import counted
from wordorder.positions import PositionError
from wordorder.text.store import TokenStore

NEAR = 8  # tokens among which a near shuffle moves one: a phrase
# A phrase; 20 is how far back an LSTM used order at all (Khandelwal et al. 2018); a paragraph.
STRETCHES = (NEAR, 20, 64)
BLOCKS = 8  # the pages of the book: fewer would hardly be out of order
REACH_WINDOWS = 256  # of one target each: as many tokens to read as for 16,384 other targets


def swap_neighbours(tokens: Tensor, generator: Generator) -> Tensor:
    """Return tokens (rows, time) with the first and second swapped, the third and fourth, ..."""
    order = torch.arange(tokens.shape[1]) ^ 1
    if tokens.shape[1] % 2:
        order[-1] = len(order) - 1
    return tokens[:, order]


def shuffle_within(tokens: Tensor, generator: Generator, *, size: int) -> Tensor:
    """Return tokens (rows, time) shuffled within stretches of `size`."""
    stretch = torch.arange(tokens.shape[1]) // size
    draw = torch.rand(tokens.shape, generator=generator, dtype=torch.float64)
    return tokens.gather(1, (stretch + draw).argsort(1))


def shuffle_blocks(tokens: Tensor, generator: Generator, *, blocks: int = BLOCKS) -> Tensor:
    """Return tokens (rows, time) cut into blocks that are shuffled; each keeps its inner order."""
    time = tokens.shape[1]
    block = (torch.arange(time) * blocks // max(1, time)).expand(len(tokens), -1)
    draw = torch.rand(len(tokens), blocks, generator=generator, dtype=torch.float64)
    return tokens.gather(1, draw.gather(1, block).argsort(dim=1, stable=True))


def shuffle(tokens: Tensor, generator: Generator) -> Tensor:
    """Return tokens (rows, time) in any order, another one in each row."""
    draw = torch.rand(tokens.shape, generator=generator, dtype=torch.float64)
    return tokens.gather(1, draw.argsort(1))


def reverse(tokens: Tensor, generator: Generator) -> Tensor:
    """Return tokens (rows, time) from the last to the first."""
    return tokens.flip(1)


@dataclass(frozen=True)
class Probe:
    """A change of the order of a context, its meaning in one line, and the tokens it needs."""

    meaning: str
    change: Callable[[Tensor, Generator], Tensor]
    fewest: int = 0


def _within(size: int, fewest: int = 0) -> Probe:
    meaning = f"tokens move within stretches of {size}"
    return Probe(meaning, partial(shuffle_within, size=size), fewest)


# What a comparison asks of every run; and what a probe asks of one.
PROBES: dict[str, Probe] = {
    "swapped": Probe("every two neighbours trade places", swap_neighbours),
    "shuffled-near": _within(NEAR),
    "shuffled": Probe("the whole context is in random order", shuffle),
    "reversed": Probe("the whole context is read backwards", reverse),
}
ALL_PROBES: dict[str, Probe] = {
    "swapped": PROBES["swapped"],
    **{f"shuffled-{size}": _within(size, fewest=size + 1) for size in STRETCHES},
    "blocks": Probe(
        f"{BLOCKS} blocks in random order, as shuffled pages",
        shuffle_blocks,
        fewest=2 * BLOCKS,
    ),
    "shuffled": PROBES["shuffled"],
    "reversed": PROBES["reversed"],
}
SHIFTED, GAP = "shifted", "gap"


@dataclass(frozen=True)
class ProbeLoss:
    """What one change does to the loss of the targets.

    Args:
        name, meaning: of the probe.
        loss_nats: of the targets after the change; None where it cannot be told.
        increase_nats: over the loss without it.
        standard_error: of `increase_nats`, over documents, or over blocks of a text with few;
            None with one window.
        cannot: why there is no loss; None where there is one.
        increase_bits_per_byte: the increase, over the bytes of the targets; None where those
            are not known.
        degrees_of_freedom: of the t-interval of `increase_nats`; None where there is no error.
    """

    name: str
    meaning: str
    loss_nats: float | None
    increase_nats: float | None
    standard_error: float | None
    cannot: str | None = None
    increase_bits_per_byte: float | None = None
    degrees_of_freedom: float | None = None


@dataclass(frozen=True)
class OrderLosses:
    """The loss of some targets, and what each probe does to it.

    Args:
        targets, windows: how many.
        loss_nats: with everything in its place.
        standard_error: of `loss_nats`, as that of `ProbeLoss`.
        probes: one for each, those that move tokens first.
        bytes: UTF-8 bytes of all targets; None where not known.
        degrees_of_freedom: of the t-interval of `loss_nats`; None where there is no error.
    """

    targets: int
    windows: int
    loss_nats: float
    standard_error: float | None
    probes: tuple[ProbeLoss, ...]
    bytes: int | None = None
    degrees_of_freedom: float | None = None


@dataclass(frozen=True)
class Undisturbed:
    """Windows and the loss of their targets with everything in its place.

    Args:
        losses: (windows,) float64, the mean of each window's targets.
        bytes: UTF-8 bytes of all targets; None where not known.
    """

    windows: Windows
    losses: Tensor
    bytes: int | None

    @classmethod
    def of(
        cls,
        model: TokenModel,
        store: TokenStore,
        length: int,
        *,
        targets: int | None = None,
        bytes_per_token: ArrayLike | None = None,
        most_targets: int = MOST_TARGETS,
    ) -> Undisturbed:
        """Read windows of a text, across documents.

        Args:
            targets: at the end of each window; None asks for its last quarter.

        Raises:
            BadInput: a text shorter than one window.
        """
        targets = targets or max(1, length // 4)
        windows = cut_windows(
            store, length, targets, across_documents=True, most_targets=most_targets
        )
        if not len(windows):
            raise BadInput(
                f"the text is {counted(len(store), 'token')}, shorter than one window of "
                f"{length:,}: give more text"
            )
        losses = target_losses(model, windows.tokens, targets)
        size = None
        if bytes_per_token is not None and store.lossless:
            size = int(torch.as_tensor(bytes_per_token)[windows.tokens[:, -targets:]].sum())
        return cls(windows, losses, size)

    def compared(self, name: str, meaning: str, losses: Callable[[], Tensor]) -> ProbeLoss:
        """Return what a change does, from the losses (windows,) after it, or why it cannot be."""
        try:
            changed = losses()
        except (BadInput, PositionError) as error:
            return ProbeLoss(name, meaning, None, None, None, cannot=str(error))
        increase = mean_of(changed - self.losses, self.windows.clusters)
        mean, bits = float(changed.mean()), None
        if not math.isfinite(mean):
            return ProbeLoss(name, meaning, None, None, None, "its losses are no finite numbers")
        if self.bytes:
            bits = increase.mean * self.targets / math.log(2) / self.bytes
        return ProbeLoss(
            name,
            meaning,
            mean,
            increase.mean,
            increase.standard_error,
            increase_bits_per_byte=bits,
            degrees_of_freedom=increase.degrees_of_freedom,
        )

    @property
    def targets(self) -> int:
        """How many, in all windows."""
        return len(self.windows) * self.windows.targets

    def summary(self, probes: tuple[ProbeLoss, ...]) -> OrderLosses:
        """Return the losses with what probes did to them."""
        loss = mean_of(self.losses, self.windows.clusters)
        return OrderLosses(
            self.targets,
            len(self.windows),
            loss.mean,
            loss.standard_error,
            probes,
            self.bytes,
            loss.degrees_of_freedom,
        )


def order_losses(
    model: TokenModel,
    store: TokenStore,
    *,
    trained_length: int,
    probes: Mapping[str, Probe] = PROBES,
    shift: int | None = None,
    gap: int | None = None,
    bytes_per_token: ArrayLike | None = None,
    seed: int = 0,
    most_targets: int = MOST_TARGETS,
) -> OrderLosses:
    """Measure what every probe does to a model's loss on the same targets.

    Args:
        model: a causal one, transformer or GRU.
        store: the tokens; windows go through them as in training, across documents.
        trained_length: tokens in a window; its last quarter is asked for.
        probes: what moves tokens.
        shift: what is added to all positions; by default the trained length, so that none of
            them was seen in training.
        gap: what is added to the positions of the targets and of the token that the first of
            them follows; by default there is no such probe.
        bytes_per_token: (vocabulary,) UTF-8 bytes, for bits per byte.
        seed: what permutations are drawn from, the same for every model.
        most_targets: how many tokens are asked for, about, where there are more.

    Raises:
        BadInput: a text shorter than one window.
    """
    plain = Undisturbed.of(
        model, store, trained_length, bytes_per_token=bytes_per_token, most_targets=most_targets
    )
    tokens, targets = plain.windows.tokens, plain.windows.targets
    found = []
    for name, probe in probes.items():
        changed = partial(_after, model, tokens, targets, probe, seed)
        found.append(plain.compared(name, probe.meaning, changed))
    places = torch.arange(trained_length)
    by = trained_length if shift is None else shift
    moves = [(SHIFTED, f"all positions grow by {by:,}; tokens stay", places + by)]
    if gap is not None:
        meaning = f"a gap of {gap:,} positions after the context"
        moves.append((GAP, meaning, places + gap * (places >= trained_length - targets)))
    for name, meaning, moved in moves:
        losses = partial(target_losses, model, tokens, targets, positions=moved[None])
        found.append(plain.compared(name, meaning, losses))
    return plain.summary(tuple(found))


def _after(model: TokenModel, tokens: Tensor, targets: int, probe: Probe, seed: int) -> Tensor:
    """Return the losses of windows (rows, time + 1) whose context is changed, nothing after it.

    The token that the first target follows stays: where it is read, the first target is asked
    for, and a model that knows nothing but pairs of tokens would seem to know order.
    """
    context = tokens.shape[1] - 1 - targets
    if context < probe.fewest:
        raise BadInput(
            f"of its {tokens.shape[1] - 1} tokens of context only {context} can be moved, and "
            f"{probe.fewest} are needed"
        )
    changed = tokens.clone()
    changed[:, :context] = probe.change(tokens[:, :context], Generator().manual_seed(seed))
    return target_losses(model, changed, targets)


def order_reach(
    model: TokenModel,
    store: TokenStore,
    *,
    trained_length: int,
    bytes_per_token: ArrayLike | None = None,
    seed: int = 0,
    windows: int = REACH_WINDOWS,
    progress: Callable[[float], object] = lambda _: None,
) -> OrderLosses:
    """Measure how far back a model uses order: what shuffling beyond each distance costs.

    Args:
        model, store, bytes_per_token, seed: as `order_losses` takes them.
        trained_length: tokens in a window; the one after them is asked for.
        windows: how many, where there are so many.
        progress: called with the share that is done, 0 to 1.

    Returns:
        `beyond-0`, where everything is shuffled, `beyond-1`, where the neighbour alone stays,
        `beyond-2`, `beyond-4`, ... to half the length.

    Raises:
        BadInput: a text shorter than one window.
    """
    plain = Undisturbed.of(
        model,
        store,
        trained_length,
        targets=1,
        bytes_per_token=bytes_per_token,
        most_targets=windows,
    )
    kept = [0] + [1 << i for i in range(trained_length.bit_length()) if 2 << i <= trained_length]
    found = []
    for number, near in enumerate(kept, start=1):
        left = {0: "every token", 1: "all but the nearest"}.get(near, f"all but the nearest {near}")
        losses = partial(losses_shuffled_at, model, plain.windows.tokens, near + 1, seed=seed)
        found.append(plain.compared(f"beyond-{near}", f"{left} in random order", losses))
        progress(number / len(kept))
    return plain.summary(tuple(found))


def losses_shuffled_at(
    model: TokenModel, tokens: Tensor, nearest: int, farthest: int | None = None, *, seed: int = 0
) -> Tensor:
    """Return the loss of each window's last token when those some way before it are shuffled.

    Args:
        tokens: (windows, time + 1) int64; the last of each row is asked for.
        nearest, farthest: distances before it, the token that it follows being at 1; None
            shuffles as far back as the window goes.
        seed: of the permutations, another one in each window.

    Returns:
        (windows,) float64 nats, in the order of the windows, so that they pair with
        `target_losses(model, tokens, 1)`.

    Raises:
        BadInput: windows without two tokens there.

    Source: Khandelwal et al. 2018, "Sharp Nearby, Fuzzy Far Away", section 4.
    """
    time = tokens.shape[1] - 1
    stop, start = time + 1 - nearest, 0 if farthest is None else max(0, time - farthest)
    if nearest < 1 or stop - start < 2:
        raise BadInput(
            f"a window of {time} tokens has fewer than two at distances from {nearest} on: "
            "take longer windows"
        )
    changed = tokens.clone()
    changed[:, start:stop] = shuffle(tokens[:, start:stop], Generator().manual_seed(seed))
    return target_losses(model, changed, 1)
