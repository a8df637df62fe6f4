"""FIRE: the bias is a small network's function of the distance relative to the query's position.

The distance is divided by the query's position, so distances in sequences of any length fill
the same range from 0 to 1, and longer sequences give the network no input outside of what it
was trained on. Below a learned threshold the divisor is that threshold, which keeps the
distances of short sequences small. Because the divisor is the query's position, adding a
number to all positions changes the output.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..eager import run_eagerly
from .base import Position, PositionError, Score, State, upcast
from .defaults import Follows
from .layout import TokenLayout
from .shape import ModelShape

# Pairs of tokens per piece: with 32 hidden units 2 MiB, which stays in a core's cache. A GPU
# needs larger pieces to be busy.
PIECE, PIECE_ON_GPU = 1 << 14, 1 << 22


class Fire(Position):
    """A bias from a network with one hidden layer, whose input is a normalised distance.

    The parameters are the logarithms of c and of L (relative to its initial value), so that
    c and L stay positive. The output layer has no constant: it would add the same number to
    a whole row, which the softmax ignores. A bidirectional model uses the absolute value of
    the distance.

    Args:
        hidden: width of the hidden layer, at least 1; 32 is the paper's.
        c: initial value of c, positive; larger is steeper at small distances.
        threshold: initial value of L; 0: a quarter of the trained length (the paper's 512 of
            2,048).

    Raises:
        PositionError: a hidden width below 1, a c that is not positive, or a negative
            threshold.

    Source: Li et al. 2023, "Functional Interpolation for Relative Positions Improves Long
    Context Transformers", section 3; initial values as in the code of its appendix.
    """

    summary = "The bias is a small network's function of distance over query position."
    source = "Li et al. 2023, section 3"
    formula = (
        "scoreᵢⱼ = qᵢ·kⱼ / √d + f[head](ψ(i − j) / ψ(max(L, i))),   ψ(x) = ln(1 + c·x)\n"
        "f[head](x) = Σₖ v[head, k] · max(0, wₖ·x + bₖ),   c > 0 and L > 0 are learned"
    )
    traps = (
        "The divisor is the query's position i, not the length of the sequence: with the length, "
        "earlier outputs would change as the sequence grows.",
        "L is learned, and max(L, i) is the larger of the two.",
        "The logarithm is taken of both the distance and the divisor.",
        "c must stay positive: at 0 every distance becomes 0 divided by 0.",
        "Adding a number to all positions changes the output: left padding must not be counted in "
        "positions.",
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
            raise PositionError(
                f"fire: hidden={hidden} must be at least 1; the paper uses 32",
                code="positions.fire-hidden",
            )
        if not 1e-30 < c < 1e30:  # its logarithm is a float32
            raise PositionError(
                f"fire: c={c} must be between 1e-30 and 1e30; the paper uses 0.1",
                code="positions.fire-c",
            )
        if threshold < 0:
            raise PositionError(
                f"fire: threshold={threshold} must be positive, or 0 for a quarter of the trained "
                "length",
                code="positions.fire-threshold",
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
        """Set c and L, and draw the layers as PyTorch's `Linear` does, as the paper's code.

        That is U(-1, 1) for the hidden layer, which has one input, and U(-1, 1) / sqrt(hidden)
        for the output layer.
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

        def at(values: Tensor, batch: Tensor, index: Tensor) -> Tensor:
            return values[0, index] if values.shape[0] == 1 else values[batch, index]

        def biased(
            score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor
        ) -> Tensor:
            distance = (at(tables, batch, query) - at(tables, batch, key)).abs()
            x = (c * distance.to(c.dtype)).log1p() / at(divisor, batch, query)
            return score + self.network(x, head)

        return biased

    def network(self, x: Tensor, head: Tensor) -> Tensor:
        """Return the bias of each head for inputs x, which all heads share."""
        into, bias, out = upcast(self.into), upcast(self.bias), upcast(self.out)
        grids = head.dim() == 3 and x.dim() > 1 and x.shape[-3:-2] in ((), (1,))
        grids = grids and not torch.compiler.is_exporting()  # into a graph for any size
        if grids and not (torch.compiler.is_compiling() and x.shape[-2] == 1):
            pairs = x if x.dim() == 2 else x.squeeze(-3)
            return _network_on_grid(pairs, into, bias, out[head.flatten()])
        return ((x[..., None] * into + bias).relu() * out[head]).sum(-1)


@run_eagerly  # the compiler would unroll the loop over pieces
def _network_on_grid(x: Tensor, into: Tensor, bias: Tensor, out: Tensor) -> Tensor:
    """Return (..., heads, query, key) for inputs x (..., query, key)."""
    biases: Tensor = _Network.apply(x.reshape(-1, x.shape[-2] * x.shape[-1]), into, bias, out)
    return biases.view(*x.shape[:-2], len(out), *x.shape[-2:])


class _Network(torch.autograd.Function):
    """The network on many inputs, in pieces whose hidden layer stays in the cache.

    Autograd would write the hidden layer of every pair to memory and read it back several
    times: 128 MiB for 1,024 tokens.

    Shapes: x (rows, pairs), into and bias (hidden,), out (heads, hidden); the result
    (rows, heads, pairs).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, into: Tensor, bias: Tensor, out: Tensor) -> Tensor:
        biases = x.new_empty(len(x), len(out), x.shape[1])
        for row, piece in _pieces(x):
            hidden = torch.outer(into, x[row, piece]).add_(bias[:, None]).relu_()
            biases[row, :, piece] = out @ hidden
        ctx.save_for_backward(x, into, bias, out)
        return biases

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        x, into, bias, out = ctx.saved_tensors
        x_gradient, into_gradient = torch.empty_like(x), torch.zeros_like(into)
        bias_gradient, out_gradient = torch.zeros_like(bias), torch.zeros_like(out)
        for row, piece in _pieces(x):
            of_piece, inputs = gradient[row, :, piece], x[row, piece]  # (heads, n), (n,)
            hidden = torch.outer(into, inputs).add_(bias[:, None]).relu_()  # (hidden, n)
            of_hidden = torch.ops.aten.threshold_backward(out.T @ of_piece, hidden, 0)
            out_gradient += of_piece @ hidden.T
            x_gradient[row, piece] = into @ of_hidden
            into_gradient += of_hidden @ inputs
            bias_gradient += of_hidden.sum(1)
        return x_gradient, into_gradient, bias_gradient, out_gradient


def _pieces(x: Tensor) -> list[tuple[int, slice]]:
    size = PIECE_ON_GPU if x.is_cuda else PIECE
    starts = range(0, x.shape[1], size)
    return [(row, slice(start, start + size)) for row in range(len(x)) for start in starts]
