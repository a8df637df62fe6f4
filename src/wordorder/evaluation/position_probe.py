"""Probes the hidden states of each layer for the absolute position of the token.

A regressor is fitted on hidden states of one half of a text, at even positions only, and scored on
the other half at odd positions: on unseen documents and positions. A linear regressor shows that
position is a direction in the states; a small network, that it is present in some form. Layer 0 is
the input of the first layer: without an embedding it holds the word alone, and no regressor can do
better than the middle of the window. Position found in later layers was computed by the model: a
causal model can, because early tokens attend to few others and late ones to many.

Windows are cut across documents, so that the beginning of a document does not reveal the position.

Source: Haviv et al. 2022, section 5, whose probe is a network that classifies positions.
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

# Tokens to fit on and to score on, half of which are used; the fewest windows for either.
FITTED, SCORED, FEWEST_WINDOWS = 24_576, 8_192, 4
# Relative to the variance of a standardised state; keeps collinear features solvable.
RIDGE = 1e-4
# Of the network: it is fitted in seconds, and more steps change little.
HIDDEN, STEPS, BATCH, LEARNING_RATE = 128, 500, 512, 3e-3


@dataclass(frozen=True)
class LayerProbe:
    """How well position is predicted from the states after one layer.

    Args:
        layer: 0 is the input of the first layer.
        error: mean absolute error in positions.
        standard_error: of `error`, over documents, or over blocks of a text with few; None with
            one window.
        r_squared: fraction of the variance of positions explained; 0 is as good as the middle.
        degrees_of_freedom: of the t-interval of `error`; None without an error.
    """

    layer: int
    error: float
    standard_error: float | None
    r_squared: float
    degrees_of_freedom: float | None = None


@dataclass(frozen=True)
class PositionProbe:
    """How well position is predicted from the states of every layer.

    Args:
        reader: "linear" or "network", the kind of regressor.
        chance: the mean absolute error of always predicting the middle, in positions.
        fitted, scored: the number of windows for each.
        context_length: tokens in a window.
        layers: one more than the model has.
    """

    reader: str
    chance: float
    fitted: int
    scored: int
    context_length: int
    layers: tuple[LayerProbe, ...]


def position_probe(
    model: TokenModel,
    store: TokenStore,
    *,
    trained_length: int,
    network: bool = False,
    seed: int = 0,
    progress: Callable[[float], object] = lambda _: None,
) -> PositionProbe:
    """Measure how well position can be predicted from a model's hidden states.

    Args:
        model: a transformer or GRU.
        store: the tokens; the regressor is fitted on the first half of the documents and scored on
            the second.
        trained_length: tokens in a window, at least 2.
        network: use a network with one hidden layer instead of linear regression.
        seed: initialises the network.
        progress: called with the fraction done, 0 to 1.

    Raises:
        BadInput: the text is too short to fit and to score on.
    """
    fitted, scored = _windows_of_halves(store, trained_length)
    fit_states = hidden_states(model, fitted.tokens[:, :-1], slice(0, None, 2))
    score_states = hidden_states(model, scored.tokens[:, :-1], slice(1, None, 2))
    # Positions scaled to -1 … 1, so that the settings of a regressor fit every window length.
    middle = (trained_length - 1) / 2
    positions = torch.arange(trained_length, dtype=torch.float64) / middle - 1
    answers = positions[1::2].expand(len(scored), -1)
    predict = _predict_by_network if network else _predict_linearly
    layers = []
    for layer, (states, others) in enumerate(zip(fit_states, score_states, strict=True)):
        # On the CPU: a device may lack float64.
        states, others = _standardised(states.cpu().double(), others.cpu().double())
        targets = positions[0::2].expand(len(fitted), -1).flatten()
        predicted = predict(states.flatten(0, 1), targets, others.flatten(0, 1), seed)
        off = predicted.view_as(answers).clamp(-1, 1) - answers
        error = mean_of(off.abs().mean(1) * middle, scored.clusters)
        explained = 1 - float(off.square().sum() / answers.square().sum())
        layers.append(
            LayerProbe(layer, error.mean, error.standard_error, explained, error.degrees_of_freedom)
        )
        progress((layer + 1) / len(fit_states))
    chance = float(positions[1::2].abs().mean()) * middle
    return PositionProbe(
        "network" if network else "linear",
        chance,
        len(fitted),
        len(scored),
        trained_length,
        tuple(layers),
    )


@torch.no_grad()
def hidden_states(model: TokenModel, tokens: Tensor, indices: slice = slice(None)) -> list[Tensor]:
    """Return the residual stream (windows, indices, width) before the first layer and after each.

    Args:
        tokens: (windows, time) int64.
        indices: the tokens of a window whose states are returned.
    """
    parts: list[list[Tensor]] = []
    with evaluating(model):
        for part in tokens.split(max(1, TOKENS_PER_BATCH // tokens.shape[1])):
            stream = ResidualStream()
            model.hidden(part.to(next(model.parameters()).device), recorder=stream)
            parts.append([x[:, indices] for x in stream.states])
    return [torch.cat(states) for states in zip(*parts, strict=True)]


def _halves(store: TokenStore) -> tuple[TokenStore, TokenStore]:
    """Return the halves of a text, cut at the document boundary nearest its middle.

    If that boundary is in the first or last quarter, a document is cut in the middle of the text.
    """
    cut = len(store) // 2
    starts = store.starts[np.abs(store.starts - cut) < len(store) / 4]
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
    """Return windows of the first half of a text, to fit on, and of the second, to score on.

    Raises:
        BadInput: a half has too few windows.
    """
    first, second = _halves(store)
    fitted, scored = _windows(first, length, FITTED), _windows(second, length, SCORED)
    if min(len(fitted), len(scored)) < FEWEST_WINDOWS:
        windows = counted(min(len(fitted), len(scored)), "window")
        raise BadInput(
            f"half of the text has {windows} of {length:,} tokens, and the position probe needs "
            f"{FEWEST_WINDOWS}: give more text",
            code="evaluation.too-little-text-for-positions",
        )
    return fitted, scored


def _windows(store: TokenStore, length: int, most: int) -> Windows:
    return cut_windows(store, length, length, across_documents=True, most_targets=most)


def _standardised(states: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Standardise each feature of both by the mean and deviation of `states`."""
    mean, deviation = states.mean((0, 1)), states.std((0, 1))
    deviation = deviation.clamp(min=1e-9 * float(deviation.max()) + 1e-30)
    return (states - mean) / deviation, (others - mean) / deviation


def _predict_linearly(states: Tensor, positions: Tensor, others: Tensor, seed: int) -> Tensor:
    """Predict positions of other states by ridge regression (float64, closed form)."""
    products = states.mT @ states
    products.diagonal().add_(RIDGE * len(states))
    weights = torch.linalg.solve(products, states.mT @ (positions - positions.mean()))
    return others @ weights + positions.mean()


def _predict_by_network(states: Tensor, positions: Tensor, others: Tensor, seed: int) -> Tensor:
    """Predict positions of other states by a network with one hidden layer."""
    states, others, positions = states.float(), others.float(), positions.float()
    generator = torch.Generator().manual_seed(seed)
    width = states.shape[1]
    into = torch.randn(width, HIDDEN, generator=generator) * width**-0.5
    out = torch.randn(HIDDEN, generator=generator) * HIDDEN**-0.5
    initial = into, torch.zeros(HIDDEN), out, torch.zeros(())
    weights = [weight.requires_grad_() for weight in initial]

    def predict(states: Tensor) -> Tensor:
        into, bias, out, offset = weights
        return torch.relu(states @ into + bias) @ out + offset

    optimizer = torch.optim.Adam(weights, LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        rows = torch.randint(len(states), (BATCH,), generator=generator)
        loss = (predict(states[rows]) - positions[rows]).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return predict(others).double()
