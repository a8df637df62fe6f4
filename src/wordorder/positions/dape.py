"""DAPE, data-adaptive positional encoding: a small network corrects scores and their bias.

A static bias, such as ALiBi's, is the same for every input. DAPE has a two-layer network
whose input, for each pair of tokens, is the scores and biases of all heads; its output is
added to the heads' scores. It mixes heads, so this embedding replaces attention.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .alibi import Alibi
from .base import Position, PositionError, Score, State
from .kerple import Kerple
from .layout import TokenLayout
from .shape import ModelShape
from .whole_row import (
    TILE_SCORES,
    TILE_SCORES_ON_GPU,
    Tile,
    apply_score,
    attend_in_tiles,
    scaled_products,
)

STATIC: dict[str, type[Alibi] | type[Kerple] | None] = {
    "alibi": Alibi,
    "kerple": Kerple,
    "none": None,
}


class Dape(Position):
    """Adds the output of a network across heads to the scores and a static bias.

    Args:
        bias: the static bias: "kerple", the paper's best, whose parameters are trained with
            the network; "alibi"; or "none" for a network on the scores alone.
        hidden: units of the network's hidden layer, at least 1; the paper uses 32. Fewer
            units than heads lose information.
        residual: add the bias itself too (equation 3), not only the network's output
            (equation 2).

    Raises:
        PositionError: an unknown bias, or `hidden` below 1.

    Source: Zheng et al. 2024, section 3.2, equations 2 and 3, and appendix J: the score of
    head h is a_h + b_h + f(a_1, ..., a_H, b_1, ..., b_H)_h, where a are scaled products, b
    biases, and f a linear layer, LeakyReLU, a linear layer.
    Not here: FIRE's bias, the network on a + b (which the paper found worse), and the
    convolutions along keys of its successor, DAPE V2.
    """

    summary = "A small network across heads corrects each score and its static bias."
    source = "Zheng et al. 2024, section 3.2, equations 2 and 3"
    door = "row"
    formula = (
        "aₕ = qᵢ·kⱼ/√d,  bₕ = −r₁ₕ ln(1 + r₂ₕ |i − j|)  (KERPLE's; bias=alibi: −mₕ |i − j|)\n"
        "score = aₕ + bₕ + f(a₁, …, a_H, b₁, …, b_H)ₕ\n"
        "f = linear → LeakyReLU → linear, from 2H to `hidden` to H"
    )
    traps = (
        "The network's input is the scores and biases of all heads for one pair of tokens: one "
        "network per head is another method.",
        "Its hidden layer has `hidden` numbers per pair of tokens: it fills memory unless a few "
        "rows are computed at a time.",
        "Heads cannot be split between devices without exchanging all scores.",
        "With bias=none positions have no effect: order comes from the causal mask alone.",
    )

    def __init__(
        self,
        shape: ModelShape,
        /,
        *,
        bias: Literal["kerple", "alibi", "none"] = "kerple",
        hidden: int = 32,
        residual: bool = True,
    ) -> None:
        super().__init__(shape)
        if bias not in STATIC:
            raise PositionError(
                f"dape: bias={bias} must be one of {', '.join(STATIC)}", code="positions.dape-bias"
            )
        if hidden < 1:
            raise PositionError(
                f"dape: hidden={hidden} must be at least 1; the paper uses 32",
                code="positions.dape-hidden",
            )
        self.bias = bias
        self.hidden = hidden
        self.residual = residual
        static, heads = STATIC[bias], shape.heads
        self.static = None if static is None else static(shape)
        inputs = heads if static is None else 2 * heads
        self.input_weight = nn.Parameter(torch.empty(hidden, inputs))
        self.input_bias = nn.Parameter(torch.empty(hidden))
        self.output_weight = nn.Parameter(torch.empty(heads, hidden))
        self.output_bias = nn.Parameter(torch.empty(heads))
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw uniformly up to 1/sqrt(inputs), as PyTorch's linear layer and the authors do."""
        for weight, bias in (
            (self.input_weight, self.input_bias),
            (self.output_weight, self.output_bias),
        ):
            bound = 1 / math.sqrt(weight.shape[1])
            nn.init.uniform_(weight, -bound, bound, generator=generator)
            nn.init.uniform_(bias, -bound, bound, generator=generator)
        if isinstance(self.static, Kerple):
            self.static.reset_parameters(generator)

    def prepare(self, layout: TokenLayout) -> Tensor:
        return layout.key_positions

    def attend(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        tables: Tensor,
        state: State,
        may_attend: Tensor,
        score: Score | None,
        query_indices: Tensor,
    ) -> Tensor:
        scale = self.shape.head_dim**-0.5
        key_positions = tables  # (batch or 1, key)
        query_positions = key_positions[:, query_indices]  # (batch or 1, query)

        def scores_of(tile: Tile, queries: Tensor, keys: Tensor) -> Tensor:
            scores = scaled_products(queries, keys, scale, tile)  # (sequences, heads, rows, keys)
            scores = apply_score(scores, score, query_indices)
            if self.static is None:
                return scores + self.correction(scores, None)
            shared = key_positions.shape[0] == 1
            some = slice(None) if shared else tile.sequences
            # (sequences or 1, rows, keys)
            distances = (
                query_positions[some, tile.rows, None] - key_positions[some, None, tile.keys]
            )
            bias = self.static.distance_bias(distances)  # (heads, sequences or 1, rows, keys)
            bias = bias.transpose(0, 1).to(scores.dtype)
            added = self.correction(scores, bias)
            return scores + bias + added if self.residual else scores + added

        # A tile is as large as its hidden layer, which has hidden / heads numbers per score.
        numbers = TILE_SCORES_ON_GPU if values.is_cuda else TILE_SCORES
        return attend_in_tiles(
            scores_of,
            (queries, keys),
            values,
            may_attend,
            query_indices,
            causal=self.shape.causal,
            one_tile=score is not None,
            tile_scores=max(1, numbers * self.shape.heads // self.hidden),
        )

    def correction(self, scores: Tensor, bias: Tensor | None) -> Tensor:
        """Return the network's output for scores and biases (batch, heads, query, key)."""
        batch = scores.shape[0]
        weights = [self.input_weight, self.input_bias, self.output_weight, self.output_bias]
        input_weight, input_bias, output_weight, output_bias = (
            weight.to(scores.dtype) for weight in weights
        )
        # The constant is one more input, of ones: adding it in a pass of its own over the hidden
        # layer would cost as much as everything else. With n = query * key pairs:
        inputs = [scores] if bias is None else [scores, bias.expand_as(scores)]
        inputs.append(torch.ones_like(scores[:, :1]))
        stacked = torch.cat(inputs, 1).flatten(2)  # (batch, 2 * heads + 1, n)
        inward = torch.cat((input_weight, input_bias[:, None]), 1)  # (hidden, 2 * heads + 1)
        hidden = torch.bmm(inward.expand(batch, -1, -1), stacked)  # (batch, hidden, n)
        hidden = F.leaky_relu(hidden, inplace=True)
        added = torch.bmm(output_weight.expand(batch, -1, -1), hidden)  # (batch, heads, n)
        return (added + output_bias[:, None]).view_as(scores)
