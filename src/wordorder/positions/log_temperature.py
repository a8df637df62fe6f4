"""Log-n temperature: queries are multiplied by the logarithm of the number of keys.

A softmax over more keys is flatter: the largest weight falls as the number n of keys grows, so
attention that is sharp at the trained length fades in longer sequences. A factor of ln n on the
scores keeps the largest weight: exp(s z ln n) is n to the power of s z. Each head learns its s.

By itself it gives the model no information about order. Use it with embeddings that have no fixed
reach: `none+log-temperature`, or alternating layers, `rotary/none+log-temperature`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .base import Position, PositionError, State, upcast
from .defaults import Follows
from .layout import TokenLayout
from .shape import ModelShape


class LogTemperature(Position):
    """Multiplies each query by s ln(n), where n is the number of keys it may attend to.

    The number is counted by document, and padding is not counted. Positions have no effect.

    Args:
        scale: initial value of s, the same in all heads; 0: one over the logarithm of the
            trained length, so that the last token of a training sequence starts with ordinary
            attention. The paper's models learn about 0.43.
        learned: train s, one number per head and layer; if false it stays `scale`.
        least: queries with fewer keys than this count as having this many, at least 1. With
            learned=false and least at the trained length, attention is ordinary up to that
            length and sharper past it, as in SWAN-GPT.

    Raises:
        PositionError: a negative scale, `least` below 1, or latent attention, where the factor
            would apply to only a part of each query.

    Source: Nakanishi 2025, Scalable-Softmax, section 2: weight_j = n^(s z_j) / sum n^(s z_k).
    Not here: the bias b of s ln(n) + b, which the paper finds to harm longer sequences; the
    steps of Llama 4 and Ministral 3, 1 + beta ln(1 + floor(p / L)).
    """

    summary = "Queries are multiplied by s ln(n) for n keys, so that attention stays sharp."
    source = "Nakanishi 2025 (arXiv 2501.19399), section 2"
    door = "query-key"
    tells_order = False
    formula = (
        "q′ᵢ = qᵢ · s[head] · ln(max(least, nᵢ)),  so that a weight is nᵢ^(s z) / Σ nᵢ^(s z)\n"
        "nᵢ = keys that query i may attend to: i + 1 in a causal model"
    )
    traps = (
        "n is the number of keys of the query, not the length of the sequence: with the length, "
        "outputs would change as the sequence grows.",
        "In a packed row n begins again with each document, and padding does not count.",
        "With a sliding window n still counts the keys before the window: in such a layer leave "
        "the temperature out.",
        "It multiplies products of queries and keys; a bias by distance in the same layer, such as "
        "ALiBi's, keeps its size.",
        "QK-norm after the factor would remove it: normalise first.",
        "A learned s may become negative, which reverses the preference for high scores.",
    )
    follows = (Follows("scale", "one over the logarithm of the trained length"),)

    def __init__(
        self, shape: ModelShape, /, *, scale: float = 0.0, learned: bool = True, least: int = 1
    ) -> None:
        super().__init__(shape)
        if not scale >= 0:
            raise PositionError(
                f"log-temperature: scale={scale} must be positive, or 0 for one over the logarithm "
                "of the trained length",
                code="positions.log-temperature-scale",
            )
        if least < 1:
            raise PositionError(
                f"log-temperature: least={least} must be at least 1, a number of keys",
                code="positions.log-temperature-least",
            )
        if shape.score_dim != shape.head_dim:
            raise PositionError(
                "log-temperature multiplies whole queries, but latent attention gives it only a "
                "part: use --attention standard",
                code="positions.log-temperature-latent",
            )
        self.scale = scale
        self.resolved_scale = scale or 1 / math.log(max(2, shape.trained_length))
        self.learned = learned
        self.least = least
        if learned:
            self.scales = nn.Parameter(torch.empty(shape.heads))
            self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Set s to `scale` in every head."""
        if self.learned:
            nn.init.constant_(self.scales, self.resolved_scale)

    def resolved_options(self) -> dict[str, float]:
        return {"scale": self.resolved_scale}

    def prepare(self, layout: TokenLayout) -> Tensor:
        """Return the logarithm of the number of keys, (batch or 1, 1, query, 1) float32."""
        return key_counts(layout).clamp(min=self.least).float().log()[:, None, :, None]

    def transform_queries(self, queries: Tensor, tables: Tensor, state: State) -> Tensor:
        factors = tables * self.resolved_scale
        if self.learned:
            factors = tables * upcast(self.scales)[:, None, None]  # (batch or 1, heads, query, 1)
        return (upcast(queries) * factors).to(queries.dtype)


def key_counts(layout: TokenLayout) -> Tensor:
    """Return the number of keys that each query may attend to, (batch or 1, query) int64."""
    indices, documents = layout.query_indices, layout.key_documents
    if documents is None:
        every = torch.full_like(indices, layout.key_positions.shape[1])
        return (indices + 1 if layout.causal else every)[None]
    if torch.compiler.is_exporting():  # ONNX cannot search a sorted list
        return layout.may_attend()[:, 0].sum(-1)
    # Sorted by document, with the order of tokens kept, the tokens of a document are together,
    # and a token's rank in its document is its place less that of the document's first token.
    ordered, order = documents.sort(dim=1, stable=True)
    first = torch.searchsorted(ordered, ordered)
    if layout.causal:
        last = torch.arange(1, documents.shape[1] + 1, device=documents.device)
    else:
        last = torch.searchsorted(ordered, ordered, right=True)
    return torch.zeros_like(order).scatter(1, order, last - first)[:, indices]
