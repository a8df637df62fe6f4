"""FIRE: a small network reads how far back a key is, as a part of how far back keys can be.

The distance is divided by the query's position, so a text of any length fills the same
range from 0 to 1 and the network never sees a number that training has not shown it. Up to
a learned threshold the divisor is that threshold, so that short texts are not blown up.
Because the divisor is the query's position, moving a text changes what is read.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .base import ModelShape, Position, PositionError, Score, State, TokenLayout, upcast
from .defaults import Follows

# Pairs at once: with 32 hidden numbers each, 2 MiB. A GPU wants more at once.
PIECE, PIECE_ON_GPU = 1 << 14, 1 << 22


class Fire(Position):
    """A bias from a network of one hidden layer that reads normalised distances.

    c and L are kept as logarithms, L's relative to its first value, so that both stay
    positive. The network has no last bias: it would add the same to a whole row, which the
    softmax ignores. A bidirectional model takes the distance's absolute value.

    Args:
        hidden: width of the hidden layer.
        c: first value of c, above 0: how steep the logarithm is near by.
        threshold: first value of L; 0 takes a quarter of the trained length, which is the
            paper's 512 of 2,048.

    Raises:
        PositionError: a hidden width below 1, a c not above 0 or a negative threshold.

    Source: Li et al. 2023, "Functional Interpolation for Relative Positions Improves Long
    Context Transformers", section 3; first values as in its appendix's code.
    """

    summary = "A small network reads the distance as a part of the query's position."
    source = "Li et al. 2023, section 3"
    formula = (
        "scoreᵢⱼ = qᵢ·kⱼ / √d + f[head](ψ(i − j) / ψ(max(L, i))),   ψ(x) = ln(1 + c·x)\n"
        "f[head](x) = Σₖ v[head, k] · max(0, wₖ·x + bₖ),   c > 0 and L > 0 are learned"
    )
    traps = (
        "The divisor is the query's position i, not the text's length: with the length, what "
        "was read would change as the text goes on.",
        "L is learned, and max(L, i) takes the larger.",
        "The logarithm is taken of both, the distance and the divisor.",
        "c must stay above 0: at 0 every distance is 0 divided by 0.",
        "Moving all positions changes what is read: left padding must not count as positions.",
    )
    door = "score"
    follows = (Follows("threshold", "a quarter of the trained length, as 512 of 2,048"),)
    absolute = True
    shift_invariant = False

    def __init__(
        self,
        shape: ModelShape,
        /,
        *,
        hidden: int = 32,
        c: float = 0.1,
        threshold: float = 0.0,
    ) -> None:
        super().__init__(shape)
        if hidden < 1:
            raise PositionError(f"fire: hidden={hidden} must be at least 1; 32 is the paper's")
        if not c > 0:
            raise PositionError(f"fire: c={c} must be above 0; 0.1 is the paper's")
        if threshold < 0:
            raise PositionError(
                f"fire: threshold={threshold} must be 0 (a quarter of the trained length) or more"
            )
        self.hidden = hidden
        self.c = c
        self.threshold = threshold
        self.log_c = nn.Parameter(torch.empty(()))
        self.log_multiplier = nn.Parameter(torch.empty(()))  # of the threshold
        self.into = nn.Parameter(torch.empty(hidden))
        self.bias = nn.Parameter(torch.empty(hidden))
        self.out = nn.Parameter(torch.empty(shape.heads, hidden))
        self.reset_parameters()

    def resolved_options(self) -> dict[str, float]:
        return {"threshold": self.threshold or self.shape.trained_length / 4}

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Set c and L, and draw the layers as PyTorch's `Linear` does, which the paper uses.

        That is U(-1, 1) from the one number in, and U(-1, 1) / sqrt(hidden) to the heads.
        """
        self.log_c.fill_(self.c).log_()
        self.log_multiplier.zero_()
        for weight, bound in ((self.into, 1.0), (self.bias, 1.0), (self.out, self.hidden**-0.5)):
            nn.init.uniform_(weight, -bound, bound, generator=generator)

    def prepare(self, layout: TokenLayout) -> Tensor:
        return layout.key_positions

    def score(self, queries: Tensor, keys: Tensor, tables: Tensor, state: State) -> Score:
        c, multiplier = upcast(self.log_c).exp(), upcast(self.log_multiplier).exp()
        least = (self.threshold or self.shape.trained_length / 4) * multiplier
        divisor = (c * torch.maximum(tables.to(c.dtype), least)).log1p()  # (batch or 1, key)

        def at(values: Tensor, batch: Tensor, slot: Tensor) -> Tensor:
            return values[0, slot] if len(values) == 1 else values[batch, slot]

        def biased(
            score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor
        ) -> Tensor:
            distance = (at(tables, batch, query) - at(tables, batch, key)).abs()
            x = (c * distance.to(c.dtype)).log1p() / at(divisor, batch, query)
            return score + self.network(x, head)

        return biased

    def network(self, x: Tensor, head: Tensor) -> Tensor:
        """Return the heads' values of numbers x, which have one for all heads."""
        into, bias, out = upcast(self.into), upcast(self.bias), upcast(self.out)
        grids = head.dim() == 3 and x.dim() > 1 and x.shape[-3:-2] in ((), (1,))
        if grids and not (torch.compiler.is_compiling() and x.shape[-2] == 1):
            pairs = x if x.dim() == 2 else x.squeeze(-3)
            return _of_pairs(pairs, into, bias, out[head.flatten()])
        return ((x[..., None] * into + bias).relu() * out[head]).sum(-1)


@torch.compiler.disable  # which would unroll the pieces
def _of_pairs(x: Tensor, into: Tensor, bias: Tensor, out: Tensor) -> Tensor:
    """Return (..., heads, query, key) of x (..., query, key)."""
    found: Tensor = _Network.apply(x.reshape(-1, x.shape[-2] * x.shape[-1]), into, bias, out)
    return found.view(*x.shape[:-2], len(out), *x.shape[-2:])


class _Network(torch.autograd.Function):
    """The network on many numbers, in pieces whose hidden layer never leaves the cache.

    Autograd would write the hidden layer of every pair to memory and read it back several
    times: 128 MiB for 1,024 tokens.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, into: Tensor, bias: Tensor, out: Tensor) -> Tensor:
        found = x.new_empty(len(x), len(out), x.shape[1])
        for row, piece in _pieces(x):
            hidden = torch.outer(into, x[row, piece]).add_(bias[:, None]).relu_()
            found[row, :, piece] = out @ hidden
        ctx.save_for_backward(x, into, bias, out)
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        x, into, bias, out = ctx.saved_tensors
        to_x, to_into = torch.empty_like(x), torch.zeros_like(into)
        to_bias, to_out = torch.zeros_like(bias), torch.zeros_like(out)
        for row, piece in _pieces(x):
            own, numbers = gradient[row, :, piece], x[row, piece]
            hidden = torch.outer(into, numbers).add_(bias[:, None]).relu_()
            slopes = torch.ops.aten.threshold_backward(out.T @ own, hidden, 0)
            to_out += own @ hidden.T
            to_x[row, piece] = into @ slopes
            to_into += slopes @ numbers
            to_bias += slopes.sum(1)
        return to_x, to_into, to_bias, to_out


def _pieces(x: Tensor) -> list[tuple[int, slice]]:
    size = PIECE_ON_GPU if x.is_cuda else PIECE
    starts = range(0, x.shape[1], size)
    return [(row, slice(start, start + size)) for row in range(len(x)) for start in starts]
