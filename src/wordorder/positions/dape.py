"""DAPE, data-adaptive positional encoding: a small network corrects each score and its bias.

A static bias, such as ALiBi's, is the same for every text. Here a two-layer network sees,
for each pair of tokens, the scores of all heads and their biases together, and adds to each
head's score what it makes of them. It mixes heads, so it replaces attention.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .alibi import Alibi
from .base import ModelShape, Position, PositionError, Score, State, TokenLayout
from .kerple import Kerple
from .whole_row import PART, PART_ON_GPU, Part, attend_in_parts, products, worked

STATIC: dict[str, type[Alibi] | type[Kerple] | None] = {
    "alibi": Alibi,
    "kerple": Kerple,
    "none": None,
}


class Dape(Position):
    """Adds to scores what a network across heads makes of them and of a static bias.

    Args:
        bias: the static bias: "kerple", the paper's best, whose numbers are trained with the
            network; "alibi"; or "none" for a network on the scores alone.
        hidden: units of the network's hidden layer; the paper's 32. At least as many as
            heads loses nothing.
        residual: add the bias itself too (equation 3), not only what the network makes of
            it (equation 2).

    Raises:
        PositionError: another bias, or `hidden` below 1.

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
        "The network works across heads, on all scores and biases of one pair of tokens at "
        "once: one network per head is another method.",
        "Its hidden layer is a tensor of `hidden` numbers per pair: memory, unless rows are "
        "computed some at a time.",
        "Heads cannot be split between devices without exchanging all scores.",
        "With bias=none it holds no position at all: order comes from the causal mask alone.",
    )

    def __init__(
        self,
        shape: ModelShape,
        /,
        *,
        bias: str = "kerple",
        hidden: int = 32,
        residual: bool = True,
    ) -> None:
        super().__init__(shape)
        if bias not in STATIC:
            raise PositionError(f"dape: bias={bias} must be one of {', '.join(STATIC)}")
        if hidden < 1:
            raise PositionError(f"dape: hidden={hidden} must be at least 1; the paper's is 32")
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
        visible: Tensor,
        score: Score | None,
        slots: Tensor,
    ) -> Tensor:
        scale = self.shape.head_dim**-0.5
        places = tables[:, slots]  # (batch or 1, query)

        def scores_of(part: Part, queries: Tensor, keys: Tensor) -> Tensor:
            scores = worked(products(queries, keys, scale, part), score, slots)
            if self.static is None:
                return scores + self.correction(scores, None)
            own = part.sequences if len(tables) > 1 else slice(None)
            distances = places[own, part.rows, None] - tables[own, None, part.seen]
            bias = self.static.distance_bias(distances).transpose(0, 1).to(scores.dtype)
            added = self.correction(scores, bias)
            return scores + bias + added if self.residual else scores + added

        # The hidden layer, not the scores, is what must fit.
        held = PART_ON_GPU if values.is_cuda else PART
        return attend_in_parts(
            scores_of,
            (queries, keys),
            values,
            visible,
            slots,
            causal=self.shape.causal,
            together=score is not None,
            at_once=max(1, held * self.shape.heads // self.hidden),
        )

    def correction(self, scores: Tensor, bias: Tensor | None) -> Tensor:
        """Return what the network makes of scores (batch, heads, query, key) and biases."""
        weights = [self.input_weight, self.input_bias, self.output_weight, self.output_bias]
        input_weight, input_bias, output_weight, output_bias = (
            weight.to(scores.dtype) for weight in weights
        )
        # One product with a row of ones for the constant: each pass over the hidden layer costs
        # as much as all else.
        known = [scores] if bias is None else [scores, bias.expand_as(scores)]
        known = torch.cat((*known, torch.ones_like(scores[:, :1])), 1).flatten(2)
        inward = torch.cat((input_weight, input_bias[:, None]), 1).expand(len(scores), -1, -1)
        hidden = F.leaky_relu(torch.bmm(inward, known), inplace=True)
        added = torch.bmm(output_weight.expand(len(scores), -1, -1), hidden)
        return (added + output_bias[:, None]).view_as(scores)
