"""Can the absolute position of a token be read from what a model holds after each layer?

A reader is fitted on hidden states of one half of a text, at even positions only, and scored on
the other half at odd ones: on documents and positions it has not seen. A linear one says that
position lies in the states as a direction; a small network, that it is in them in some form. Layer
0 is what goes into the first layer: there a model without embedding holds the word alone, and no
reader can beat the middle of the window. What it reads from later layers the model has worked out
by itself: a causal one can, because the first tokens see few others and the last ones many.

Windows go through the text, across documents, so that a document's opening does not give its
position away.

Source: Haviv et al. 2022, section 5, whose reader is a network that classifies positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wordorder.errors import BadInput
from wordorder.evaluation.intervals import mean_of
from wordorder.evaluation.loss import TOKENS_PER_BATCH
from wordorder.evaluation.windows import Windows, cut_windows
from wordorder.model import ResidualStream, TokenModel, evaluating
from wordorder.numerals import counted
from wordorder.text.store import TokenStore

# Tokens read for either side, half of which count; windows, where those are long.
FITTED, SCORED, FEWEST_WINDOWS = 24_576, 8_192, 4
# Of the variance of a standardised state: enough where two of its numbers go together.
RIDGE = 1e-4
# The network's: it is fitted in seconds, and longer changes little.
HIDDEN, STEPS, BATCH, LEARNING_RATE = 128, 500, 512, 3e-3


@dataclass(frozen=True)
class LayerReading:
    """How well positions are read after a layer.

    Args:
        layer: 0 is what goes into the first one.
        error: mean absolute error in positions.
        standard_error: of `error`, over documents, or over blocks of a text with few; None with
            one window.
        r_squared: share of the variance of positions; 0 is no better than the middle.
        degrees_of_freedom: of the t-interval of `error`; None where there is no error.
    """

    layer: int
    error: float
    standard_error: float | None
    r_squared: float
    degrees_of_freedom: float | None = None


@dataclass(frozen=True)
class PositionReading:
    """How well positions are read after every layer.

    Args:
        reader: linear or network.
        chance: the mean absolute error of always answering the middle, in positions.
        fitted, scored: windows on either side.
        layers: one more than the model has.
    """

    reader: str
    chance: float
    fitted: int
    scored: int
    context_length: int
    layers: tuple[LayerReading, ...]


def position_probe(
    model: TokenModel,
    store: TokenStore,
    *,
    trained_length: int,
    network: bool = False,
    seed: int = 0,
    progress: Callable[[float], object] = lambda _: None,
) -> PositionReading:
    """Measure how well positions are read from a model's hidden states.

    Args:
        model: transformer or GRU.
        store: the tokens; the reader is fitted on the first half of the documents and scored on
            the others.
        trained_length: tokens in a window, at least 2.
        network: the reader has a hidden layer.
        seed: of the network.
        progress: called with the share that is done, 0 to 1.

    Raises:
        BadInput: a text too short to fit and to score on.
    """
    fitted, scored = _windows_of_halves(store, trained_length)
    seen = hidden_states(model, fitted.tokens[:, :-1], slice(0, None, 2))
    asked = hidden_states(model, scored.tokens[:, :-1], slice(1, None, 2))
    # Positions from -1 to 1, so that readers of any window start alike.
    middle = (trained_length - 1) / 2
    places = torch.arange(trained_length, dtype=torch.float64) / middle - 1
    answers = places[1::2].expand(len(scored), -1)
    read = _read_by_network if network else _read_linearly
    layers = []
    for layer, (states, others) in enumerate(zip(seen, asked, strict=True)):
        # On the CPU: a device may lack float64.
        states, others = _standardised(states.cpu().double(), others.cpu().double())
        known = places[0::2].expand(len(fitted), -1).flatten()
        answered = read(states.flatten(0, 1), known, others.flatten(0, 1), seed)
        off = answered.view_as(answers).clamp(-1, 1) - answers
        error = mean_of(off.abs().mean(1) * middle, scored.clusters)
        explained = 1 - float(off.square().sum() / answers.square().sum())
        layers.append(
            LayerReading(
                layer, error.mean, error.standard_error, explained, error.degrees_of_freedom
            )
        )
        progress((layer + 1) / len(seen))
    chance = float(places[1::2].abs().mean()) * middle
    return PositionReading(
        "network" if network else "linear",
        chance,
        len(fitted),
        len(scored),
        trained_length,
        tuple(layers),
    )


@torch.no_grad()
def hidden_states(model: TokenModel, tokens: Tensor, places: slice = slice(None)) -> list[Tensor]:
    """Return the states (windows, places, width) before the first layer and after each.

    Args:
        tokens: (windows, time) int64.
        places: which of the tokens' states to keep.
    """
    parts: list[list[Tensor]] = []
    with evaluating(model):
        for part in tokens.split(max(1, TOKENS_PER_BATCH // tokens.shape[1])):
            stream = ResidualStream()
            model.hidden(part.to(next(model.parameters()).device), recorder=stream)
            parts.append([x[:, places] for x in stream.states])
    return [torch.cat(states) for states in zip(*parts, strict=True)]


def _halves(store: TokenStore) -> tuple[TokenStore, TokenStore]:
    """Return two texts, cut where the document ends that is nearest the middle.

    A single document is cut in the middle.
    """
    starts = store.starts[1:]
    cut = len(store) // 2
    if len(starts):
        cut = int(starts[np.abs(starts - cut).argmin()])

    def part(first: int, last: int) -> TokenStore:
        inside = store.starts[(store.starts >= first) & (store.starts < last)] - first
        return TokenStore(
            store.tokens[first:last],
            inside if len(inside) else np.zeros(1, np.int64),
            store.bytes,
            store.end_of_text,
            store.vocabulary_size,
        )

    return part(0, cut), part(cut, len(store))


def _windows_of_halves(store: TokenStore, length: int) -> tuple[Windows, Windows]:
    """Return windows of either half of a text, to fit on and to score on.

    Raises:
        BadInput: a text too short for that.
    """
    first, second = _halves(store)
    fitted, scored = _windows(first, length, FITTED), _windows(second, length, SCORED)
    if min(len(fitted), len(scored)) < FEWEST_WINDOWS:
        windows = counted(min(len(fitted), len(scored)), "window")
        raise BadInput(
            f"half of the text has {windows} of {length:,} tokens, and {FEWEST_WINDOWS} are needed "
            "to tell positions: give more text"
        )
    return fitted, scored


def _windows(store: TokenStore, length: int, most: int) -> Windows:
    return cut_windows(store, length, length, across_documents=True, most_targets=most)


def _standardised(states: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in units of the first one's spread, number by number."""
    mean, spread = states.mean((0, 1)), states.std((0, 1))
    spread = spread.clamp(min=1e-9 * float(spread.max()) + 1e-30)
    return (states - mean) / spread, (others - mean) / spread


def _read_linearly(states: Tensor, places: Tensor, others: Tensor, seed: int) -> Tensor:
    """Return what a ridge regression (float64, closed form) reads from other states."""
    products = states.mT @ states
    products.diagonal().add_(RIDGE * len(states))
    weights = torch.linalg.solve(products, states.mT @ (places - places.mean()))
    return others @ weights + places.mean()


def _read_by_network(states: Tensor, places: Tensor, others: Tensor, seed: int) -> Tensor:
    """Return what a network with one hidden layer reads from other states."""
    states, others, places = states.float(), others.float(), places.float()
    generator = torch.Generator().manual_seed(seed)
    width = states.shape[1]
    into = torch.randn(width, HIDDEN, generator=generator) * width**-0.5
    out = torch.randn(HIDDEN, generator=generator) * HIDDEN**-0.5
    weights = [each.requires_grad_() for each in (into, torch.zeros(HIDDEN), out, torch.zeros(()))]

    def read(states: Tensor) -> Tensor:
        into, bias, out, middle = weights
        return torch.relu(states @ into + bias) @ out + middle

    optimizer = torch.optim.Adam(weights, LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        rows = torch.randint(len(states), (BATCH,), generator=generator)
        loss = (read(states[rows]) - places[rows]).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return read(others).double()
