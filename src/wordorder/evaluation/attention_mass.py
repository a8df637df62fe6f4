"""Where attention goes: how much of it to each distance, in every layer and head.

No kernel gives its weights away, and embeddings change them in many ways: rotations, biases, rows
that are computed as a whole. But whatever makes the weights, values are only mixed by them. So each
layer's attention is run again, by the model's own code, with values that are ones and zeros: a few
columns of the identity at a time, as many as a head is wide, and what comes out is the weights.
What an embedding adds beside values comes out where they are all zero, and is taken off. That the
weights so found are the weights is not taken for granted: they must sum to one in every row, and
give the layer's output again with its real values.

Only the last quarter of a window is asked, which has at least three quarters of it to look back
on: the first tokens have nothing far away to attend to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from wordorder.errors import BadInput
from wordorder.evaluation.windows import cut_windows
from wordorder.model import AttentionRecord, LanguageModel, Recorder, TokenModel, evaluating
from wordorder.text.store import TokenStore

WINDOWS = 32  # shares of the same head in windows of text differ by little
# Weights at once: 32 MiB in float32, of several matrices as large.
WEIGHTS_AT_ONCE = 1 << 23
# Relative to the largest number of a layer's output.
ROUNDING, ROUNDING_OF_HALF = 1e-3, 5e-2


@dataclass(frozen=True)
class HeadMass:
    """Where one head looks, on average.

    Args:
        layer, head: counted from 1.
        by_distance: the share of attention in each bucket.
        mean_distance: in tokens.
        first_token: the share that the first token of the window gets, wherever it is.
    """

    layer: int
    head: int
    by_distance: tuple[float, ...]
    mean_distance: float
    first_token: float


@dataclass(frozen=True)
class AttentionMass:
    """Attention by distance.

    Args:
        context_length: tokens in a window; its last quarter looks back.
        windows: how many.
        buckets: (nearest, farthest) distances, both included; 0 is the token itself.
        even: what each bucket would get if all tokens were attended to alike.
        heads: in the order of layers.
        cannot: a sentence for each layer whose attention could not be had.
    """

    context_length: int
    windows: int
    buckets: tuple[tuple[int, int], ...]
    even: tuple[float, ...]
    heads: tuple[HeadMass, ...]
    cannot: tuple[str, ...] = ()


def attention_mass(
    model: TokenModel,
    store: TokenStore,
    *,
    trained_length: int,
    windows: int = WINDOWS,
    progress: Callable[[float], object] = lambda _: None,
) -> AttentionMass:
    """Measure how a model's attention is spread over distances.

    Args:
        store: the tokens; windows go through them as in training, across documents.
        trained_length: tokens in a window.
        windows: how many, about, where there are more.
        progress: called with the share that is done, 0 to 1.

    Raises:
        BadInput: a model without attention, or a text shorter than one window.
    """
    if not isinstance(model, LanguageModel):
        raise BadInput("the model has no attention: it reads token by token")
    asked = max(1, trained_length // 4)
    cut = cut_windows(
        store, trained_length, asked, across_documents=True, most_targets=windows * asked
    )
    if not len(cut):
        raise BadInput(f"the text is shorter than one window of {trained_length:,} tokens")
    buckets = distance_buckets(trained_length)
    sums = _Sums(model.config.layers, buckets, trained_length, asked)
    rows = max(1, WEIGHTS_AT_ONCE // (model.config.heads * trained_length**2))
    parts = cut.tokens[:, :-1].split(rows)
    with evaluating(model), torch.no_grad():
        for number, part in enumerate(parts, start=1):
            model.hidden(part.to(next(model.parameters()).device), recorder=sums)
            progress(number / len(parts))
    return sums.summary(len(cut))


def distance_buckets(length: int) -> tuple[tuple[int, int], ...]:
    """Return distances 0, 1, 2-3, 4-7, ... as far as a text of so many tokens has them."""
    buckets = [(0, 0)]
    while (nearest := buckets[-1][1] + 1) < length:
        buckets.append((nearest, min(2 * nearest, length) - 1))
    return tuple(buckets)


class _Sums(Recorder):
    """Adds up what every layer's attention gives to each distance."""

    def __init__(
        self, layers: int, buckets: tuple[tuple[int, int], ...], length: int, asked: int
    ) -> None:
        self.buckets, self.length, self.asked = buckets, length, asked
        slots = torch.arange(length)
        self.distances = slots[-asked:, None] - slots  # (query, key); a future key is below 0
        self.masses: list[Tensor | None] = [None] * layers
        self.cannot: dict[int, str] = {}
        self.rows = 0

    def attention(self, record: AttentionRecord) -> None:
        layer = record.layer
        if layer in self.cannot:
            return
        try:
            weights = attention_weights(record)
        except BadInput as error:
            self.cannot[layer] = f"layer {layer + 1}: {error}"
            return
        mass = self._mass(weights[:, :, -self.asked :].cpu().double())
        before = self.masses[layer]
        self.masses[layer] = mass if before is None else before + mass

    def _mass(self, weights: Tensor) -> Tensor:
        """Return (heads, buckets + 2): each bucket's, the distance times it, the first token's."""
        weights = weights.sum(0)  # (heads, query, key)
        inside = [
            (weights * ((self.distances >= nearest) & (self.distances <= farthest))).sum((1, 2))
            for nearest, farthest in self.buckets
        ]
        return torch.stack(
            [*inside, (weights * self.distances).sum((1, 2)), weights[:, :, 0].sum(1)], 1
        )

    def summary(self, windows: int) -> AttentionMass:
        heads = []
        for layer, mass in enumerate(self.masses):
            if mass is None or layer in self.cannot:
                continue
            for head, (*shares, distance, first) in enumerate(
                (mass / (windows * self.asked)).tolist(), start=1
            ):
                heads.append(HeadMass(layer + 1, head, tuple(shares), distance, first))
        alike = (self.distances >= 0).double()
        even = self._mass((alike / alike.sum(1, keepdim=True))[None, None])[0] / self.asked
        return AttentionMass(
            self.length,
            windows,
            self.buckets,
            tuple(even[: len(self.buckets)].tolist()),
            tuple(heads),
            tuple(self.cannot.values()),
        )


def attention_weights(record: AttentionRecord) -> Tensor:
    """Return the attention weights (batch, heads, query, key) of a layer.

    Raises:
        BadInput: a layer whose output is not a weighted sum of values.
    """
    weights, added = record.weights()
    half = weights.dtype in (torch.bfloat16, torch.float16)
    rounding = ROUNDING_OF_HALF if half else ROUNDING
    again, attended = weights @ record.problem.values + added, record.attended
    off = (again - attended).abs().max() / attended.abs().max().clamp(min=1e-30)
    if off > rounding or (weights.sum(-1) - 1).abs().max() > rounding:
        raise BadInput("its output is no mixture of values, so there are no weights to show")
    return weights
