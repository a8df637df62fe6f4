"""Order probes: the increase in loss when the order of the context is changed.

    window      |<--------- context: reordered --------->|x|<-- targets: last quarter -->|

Targets, and the token x before the first one, keep their places. The context before x is reordered:
the same tokens, swapped, shuffled or reversed. A bag-of-words model loses nothing; a model that
uses local order loses when neighbours are swapped; a model that uses only distant order loses when
everything is shuffled.

Targets still follow their own neighbours, so an increase measures the value of order in the
*earlier* context. A causal mask alone conveys order from the second layer on: a model without
positional embedding is not necessarily blind to it.

Two probes change positions instead of tokens. Adding a constant to all positions costs a relative
embedding nothing. Adding it to x and the targets only, as if text before them had been cut out,
costs nothing if a model ignores positions.

`order_reach` measures how far back a model uses order, for a single target in each window: tokens
beyond a distance are shuffled, for distances that double. This distinguishes a bigram model from a
bag of words: it loses only when its nearest neighbour moves.

Not here: windows of other lengths, see context.py; removal of the embedding, see ablation.py.
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

NEAR = 8  # tokens: about a phrase
# A phrase; the distance to which an LSTM used order (Khandelwal et al. 2018); a paragraph.
STRETCHES = (NEAR, 20, 64)
BLOCKS = 8  # with fewer blocks a random order is often close to the original one
REACH_WINDOWS = 256  # with one target each; costs as much as 16,384 targets of the other probes


def swap_neighbours(tokens: Tensor, generator: Generator) -> Tensor:
    """Return tokens (rows, time) with the first two swapped, the next two, and so on."""
    order = torch.arange(tokens.shape[1]) ^ 1
    return tokens[:, order.clamp(max=len(order) - 1)]


def shuffle_within(tokens: Tensor, generator: Generator, *, size: int) -> Tensor:
    """Return tokens (rows, time) shuffled within blocks of `size`."""
    stretch = torch.arange(tokens.shape[1]) // size
    draw = torch.rand(tokens.shape, generator=generator, dtype=torch.float64)
    return tokens.gather(1, (stretch + draw).argsort(1))


def shuffle_blocks(tokens: Tensor, generator: Generator, *, blocks: int = BLOCKS) -> Tensor:
    """Return tokens (rows, time) as shuffled blocks; the order inside each stays."""
    time = tokens.shape[1]
    block = (torch.arange(time) * blocks // max(1, time)).expand(len(tokens), -1)
    draw = torch.rand(len(tokens), blocks, generator=generator, dtype=torch.float64)
    return tokens.gather(1, draw.gather(1, block).argsort(dim=1, stable=True))


def shuffle(tokens: Tensor, generator: Generator) -> Tensor:
    """Return tokens (rows, time) shuffled, differently in each row."""
    draw = torch.rand(tokens.shape, generator=generator, dtype=torch.float64)
    return tokens.gather(1, draw.argsort(1))


def reverse(tokens: Tensor, generator: Generator) -> Tensor:
    """Return tokens (rows, time) in reverse order."""
    return tokens.flip(1)


@dataclass(frozen=True)
class Probe:
    """A reordering of the context, its description, and the fewest tokens it needs."""

    meaning: str
    change: Callable[[Tensor, Generator], Tensor]
    fewest: int = 0


def _within(size: int, fewest: int = 0) -> Probe:
    meaning = f"tokens shuffled within blocks of {size}"
    return Probe(meaning, partial(shuffle_within, size=size), fewest)


# PROBES: what `compare` measures of every run. ALL_PROBES: what `probe` measures of one run.
PROBES: dict[str, Probe] = {
    "swapped": Probe("every two neighbours swapped", swap_neighbours),
    "shuffled-near": _within(NEAR),
    "shuffled": Probe("whole context shuffled", shuffle),
    "reversed": Probe("whole context reversed", reverse),
}
ALL_PROBES: dict[str, Probe] = {
    "swapped": PROBES["swapped"],
    **{f"shuffled-{size}": _within(size, fewest=size + 1) for size in STRETCHES},
    "blocks": Probe(
        f"{BLOCKS} blocks of the context shuffled",
        shuffle_blocks,
        fewest=2 * BLOCKS,
    ),
    "shuffled": PROBES["shuffled"],
    "reversed": PROBES["reversed"],
}
SHIFTED, GAP = "shifted", "gap"


@dataclass(frozen=True)
class ProbeLoss:
    """The effect of one change on the loss of the targets.

    Args:
        name, meaning: the name and description of the probe.
        loss_nats: of the targets after the change; None if it cannot be measured.
        increase_nats: over the loss without the change.
        standard_error: of `increase_nats`, over documents, or over blocks of a text with few;
            None with one window.
        cannot: why there is no loss; None if there is one.
        increase_bits_per_byte: the increase over the bytes of the targets; None if those are
            unknown.
        degrees_of_freedom: of the t-interval of `increase_nats`; None without an error.
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
    """The loss of the targets, and the effect of each probe on it.

    Args:
        targets, windows: their numbers.
        loss_nats: without any change.
        standard_error: of `loss_nats`, as in `ProbeLoss`.
        probes: their effects, those that move tokens first.
        bytes: UTF-8 bytes of all targets; None if unknown.
        degrees_of_freedom: of the t-interval of `loss_nats`; None without an error.
    """

    targets: int
    windows: int
    loss_nats: float
    standard_error: float | None
    probes: tuple[ProbeLoss, ...]
    bytes: int | None = None
    degrees_of_freedom: float | None = None


@dataclass(frozen=True)
class Unchanged:
    """Windows, and the loss of their targets without any change.

    Args:
        losses: (windows,) float64, the mean of each window's targets.
        bytes: UTF-8 bytes of all targets; None if unknown.
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
    ) -> Unchanged:
        """Measure windows of a text, cut across documents.

        Args:
            targets: targets at the end of each window; None: its last quarter.

        Raises:
            BadInput: the text is shorter than one window.
        """
        targets = targets or max(1, length // 4)
        windows = cut_windows(
            store, length, targets, across_documents=True, most_targets=most_targets
        )
        if not len(windows):
            raise BadInput(
                f"the text is {counted(len(store), 'token')}, shorter than one window of "
                f"{length:,}: give more text",
                code="evaluation.text-shorter-than-probe",
            )
        losses = target_losses(model, windows.tokens, targets)
        size = None
        if bytes_per_token is not None and store.lossless:
            size = windows.target_bytes(bytes_per_token)
        return cls(windows, losses, size)

    def compared(self, name: str, meaning: str, losses: Callable[[], Tensor]) -> ProbeLoss:
        """Return the effect of a change; `losses` returns the losses (windows,) after it."""
        try:
            changed = losses()
        except (BadInput, PositionError) as error:
            return ProbeLoss(name, meaning, None, None, None, cannot=str(error))
        increase = mean_of(changed - self.losses, self.windows.clusters)
        mean, bits = float(changed.mean()), None
        if not math.isfinite(mean):
            return ProbeLoss(name, meaning, None, None, None, "the loss is NaN or infinite")
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
        """The number of targets in all windows."""
        return len(self.windows) * self.windows.targets

    def summary(self, probes: tuple[ProbeLoss, ...]) -> OrderLosses:
        """Return the loss with the effects of the probes."""
        loss = mean_of(self.losses, self.windows.clusters)
        means = loss.mean, loss.standard_error, probes, self.bytes, loss.degrees_of_freedom
        return OrderLosses(self.targets, len(self.windows), *means)


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
    """Measure the effect of each probe on a model's loss on the same targets.

    Args:
        model: a causal transformer or GRU.
        store: the tokens; cut into windows across documents, as in training.
        trained_length: tokens in a window; targets are its last quarter.
        probes: the probes that reorder tokens.
        shift: added to all positions; by default the trained length, so that no position
            occurred in training.
        gap: added to the positions of the targets and of the token before them; None: no such
            probe.
        bytes_per_token: (vocabulary,) UTF-8 bytes, for bits per byte.
        seed: of the permutations, the same for every model.
        most_targets: the approximate number of targets to use if the text has more.

    Raises:
        BadInput: the text is shorter than one window.
    """
    plain = Unchanged.of(
        model, store, trained_length, bytes_per_token=bytes_per_token, most_targets=most_targets
    )
    tokens, targets = plain.windows.tokens, plain.windows.targets
    effects = []
    for name, probe in probes.items():
        changed = partial(_losses_after, model, tokens, targets, probe, seed)
        effects.append(plain.compared(name, probe.meaning, changed))
    positions = torch.arange(trained_length)
    by = trained_length if shift is None else shift
    moves = [(SHIFTED, f"all positions shifted by {by:,}", positions + by)]
    if gap is not None:
        meaning = f"a gap of {gap:,} positions after the context"
        moves.append((GAP, meaning, positions + gap * (positions >= trained_length - targets)))
    for name, meaning, moved in moves:
        losses = partial(target_losses, model, tokens, targets, positions=moved[None])
        effects.append(plain.compared(name, meaning, losses))
    return plain.summary(tuple(effects))


def _losses_after(
    model: TokenModel, tokens: Tensor, targets: int, probe: Probe, seed: int
) -> Tensor:
    """Return the losses of windows (rows, time + 1) with a reordered context.

    The token before the first target stays in place: the first target is predicted from it, and a
    bigram model would seem to use order otherwise.
    """
    context = tokens.shape[1] - 1 - targets
    if context < probe.fewest:
        raise BadInput(
            f"only {context} of the {tokens.shape[1] - 1} tokens before the last can be reordered, "
            f"and this probe needs {probe.fewest}",
            code="evaluation.context-too-short-to-reorder",
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
    """Measure how far back a model uses order: the cost of shuffling beyond each distance.

    Args:
        model, store, bytes_per_token, seed: as in `order_losses`.
        trained_length: tokens in a window; the target is the token after them.
        windows: the number to use if the text has more.
        progress: called with the fraction done, 0 to 1.

    Returns:
        `beyond-0`, where everything is shuffled, `beyond-1`, where only the nearest token stays,
        `beyond-2`, `beyond-4`, ..., up to half the length.

    Raises:
        BadInput: the text is shorter than one window.
    """
    plain = Unchanged.of(
        model,
        store,
        trained_length,
        targets=1,
        bytes_per_token=bytes_per_token,
        most_targets=windows,
    )
    powers = [1 << i for i in range(trained_length.bit_length()) if 2 << i <= trained_length]
    effects = []
    for number, near in enumerate([0, *powers], start=1):
        nearest = {0: "all tokens", 1: "all but the nearest"}.get(
            near, f"all but the {near} nearest"
        )
        losses = partial(losses_shuffled_at, model, plain.windows.tokens, near + 1, seed=seed)
        effects.append(plain.compared(f"beyond-{near}", f"{nearest} shuffled", losses))
        progress(number / (len(powers) + 1))
    return plain.summary(tuple(effects))


def losses_shuffled_at(
    model: TokenModel, tokens: Tensor, nearest: int, farthest: int | None = None, *, seed: int = 0
) -> Tensor:
    """Return the loss of each window's last token with tokens at some distances shuffled.

    Args:
        tokens: (windows, time + 1) int64; the target is the last of each row.
        nearest, farthest: distances to the target, 1 for the token before it; None: to the
            beginning of the window.
        seed: of the permutations, which differ between windows.

    Returns:
        (windows,) float64 nats, in the order of `target_losses(model, tokens, 1)`.

    Raises:
        BadInput: windows have fewer than two tokens at those distances.

    Source: Khandelwal et al. 2018, "Sharp Nearby, Fuzzy Far Away", section 4.
    """
    time = tokens.shape[1] - 1
    stop, start = time + 1 - nearest, 0 if farthest is None else max(0, time - farthest)
    if nearest < 1 or stop - start < 2:
        raise BadInput(
            f"a window of {time} tokens has fewer than two tokens at distances from {nearest} on: "
            "use longer windows",
            code="evaluation.too-few-to-shuffle",
        )
    changed = tokens.clone()
    changed[:, start:stop] = shuffle(tokens[:, start:stop], Generator().manual_seed(seed))
    return target_losses(model, changed, 1)
