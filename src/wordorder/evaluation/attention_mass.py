"""Distribution of attention over distances, for every layer and head.

Fused kernels do not return attention weights, and embeddings change them in many ways: rotations,
biases, whole rows. But in every case the output is linear in the values. So each layer's attention
is run again by the model's own code with columns of the identity as values, `head_dim` columns at a
time, and the outputs are the weights:

    attention(queries, keys, I) = weights

What an embedding adds beside the values is the output for values of zero, and is subtracted. The
result is verified: no row may sum to more than one, and the weights times the real values must give
the layer's real output.

Only queries in the last quarter of a window count, which have at least three quarters of a window
before them: the first tokens have nothing distant to attend to.
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

WINDOWS = 32  # the distribution of one head varies little between windows
# Attention weights held at once: 32 MiB in float32, and several tensors of that size exist.
WEIGHTS_AT_ONCE = 1 << 23
# Tolerances of the check, relative to the largest number of a layer's output: float32, 16 bits.
ROUNDING, ROUNDING_OF_HALF = 1e-3, 5e-2


@dataclass(frozen=True)
class HeadMass:
    """The mean attention of one head.

    Args:
        layer, head: counted from 1.
        by_distance: the fraction of attention in each bucket.
        mean_distance: in tokens.
        first_token: the fraction on the first token of the window, at any distance.
    """

    layer: int
    head: int
    by_distance: tuple[float, ...]
    mean_distance: float
    first_token: float


@dataclass(frozen=True)
class AttentionMass:
    """Attention by distance, for every head of a model.

    Args:
        context_length: tokens in a window; queries are in its last quarter.
        windows: the number of windows.
        buckets: (nearest, farthest) distances, both inclusive; 0 is the token itself.
        even: the fractions of uniform attention.
        heads: in the order of layers.
        cannot: one sentence for each layer without attention weights.
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
    """Measure how a model's attention is distributed over distances.

    Args:
        store: the tokens; cut into windows across documents, as in training.
        trained_length: tokens in a window.
        windows: the approximate number to use if the text has more.
        progress: called with the fraction done, 0 to 1.

    Raises:
        BadInput: the model has no attention, or the text is shorter than one window.
    """
    if not isinstance(model, LanguageModel):
        raise BadInput(
            "a GRU has no attention: choose a run of a transformer",
            code="evaluation.no-attention",
        )
    queries = max(1, trained_length // 4)
    cut = cut_windows(
        store, trained_length, queries, across_documents=True, most_targets=windows * queries
    )
    if not len(cut):
        raise BadInput(
            f"the text is shorter than one window of {trained_length:,} tokens: give more text",
            code="evaluation.text-shorter-than-attention-window",
        )
    buckets = distance_buckets(trained_length)
    sums = _Sums(model.config.layers, buckets, trained_length, queries)
    rows = max(1, WEIGHTS_AT_ONCE // (model.config.heads * trained_length**2))
    parts = cut.tokens[:, :-1].split(rows)
    with evaluating(model), torch.no_grad():
        for number, part in enumerate(parts, start=1):
            model.hidden(part.to(next(model.parameters()).device), recorder=sums)
            progress(number / len(parts))
    return sums.summary(len(cut))


def distance_buckets(length: int) -> tuple[tuple[int, int], ...]:
    """Return the distances 0, 1, 2-3, 4-7, ... that occur in `length` tokens."""
    buckets = [(0, 0)]
    while (nearest := buckets[-1][1] + 1) < length:
        buckets.append((nearest, min(2 * nearest, length) - 1))
    return tuple(buckets)


class _Sums(Recorder):
    """Sums every layer's attention by distance."""

    def __init__(
        self, layers: int, buckets: tuple[tuple[int, int], ...], length: int, queries: int
    ) -> None:
        self.buckets, self.length, self.queries = buckets, length, queries
        indices = torch.arange(length)
        # (query, key); negative for keys after the query
        self.distances = indices[-queries:, None] - indices
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
        mass = self._mass(weights[:, :, -self.queries :].cpu().double())
        before = self.masses[layer]
        self.masses[layer] = mass if before is None else before + mass

    def _mass(self, weights: Tensor) -> Tensor:
        """Return (heads, buckets + 2): mass by bucket, mean distance, mass of the first token."""
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
                (mass / (windows * self.queries)).tolist(), start=1
            ):
                # What a sink or stick-breaking leaves to no key is at no distance.
                mean = distance / total if (total := sum(shares)) else 0.0
                heads.append(HeadMass(layer + 1, head, tuple(shares), mean, first))
        uniform = (self.distances >= 0).double()
        uniform /= uniform.sum(1, keepdim=True)
        even = self._mass(uniform[None, None])[0] / self.queries
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

    They add up to less than 1 where a sink or stick-breaking leaves a share to no key.

    Raises:
        BadInput: the layer's output is not a weighted sum of its values.
    """
    weights, added = record.weights()
    half = weights.dtype in (torch.bfloat16, torch.float16)
    rounding = ROUNDING_OF_HALF if half else ROUNDING
    recomputed, attended = weights @ record.problem.values + added, record.attended
    off = (recomputed - attended).abs().max() / attended.abs().max().clamp(min=1e-30)
    is_average = (weights.sum(-1) - 1).max() <= rounding and weights.min() >= -rounding
    if off > rounding or not is_average:
        raise BadInput(
            "its output is not a weighted average of values, so it has no attention weights",
            code="evaluation.no-attention-weights",
        )
    return weights
