"""Parts of parameters: several linear layers may be stored as one tensor, which is faster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn


class ParameterPart(NamedTuple):
    """A parameter, or the rows of it that belong to one of several joined layers.

    Args:
        rows: rows, the index of a matrix, or the index of a matrix and rows of it.
    """

    name: str
    parameter: nn.Parameter
    rows: slice | int | tuple[int, slice] = slice(None)

    @property
    def value(self) -> Tensor:
        """The values; they share memory with the parameter."""
        return self.parameter.detach()[self.rows]


class StackedLinear(nn.Module):
    """The same linear layers of every expert, joined as in `JoinedLinear`.

    Attributes:
        weight: (experts, outputs, inputs).
        bias: (experts, outputs), or None.
        parts: rows of the weights that belong to each layer.
    """

    def __init__(
        self, experts: int, inputs: int, outputs: dict[str, int], *, bias: bool = False
    ) -> None:
        super().__init__()
        ends = list(accumulate(outputs.values(), initial=0))
        self.weight = nn.Parameter(torch.empty(experts, ends[-1], inputs))
        self.bias = nn.Parameter(torch.empty(experts, ends[-1])) if bias else None
        self.parts = {n: slice(*rows) for n, rows in zip(outputs, pairwise(ends), strict=True)}

    def of_pieces(self, pieces: Sequence[Tensor]) -> list[Tensor]:
        """Return the outputs of each expert for its own tokens (tokens, inputs)."""
        # Not weight[e], whose gradient would be a tensor of all experts for each of them.
        dtype = pieces[0].dtype
        outputs = [
            piece @ weight.mT
            for piece, weight in zip(pieces, self.weight.to(dtype).unbind(), strict=True)
        ]
        if self.bias is None:
            return outputs
        biases = self.bias.to(dtype).unbind()
        return [output + bias for output, bias in zip(outputs, biases, strict=True)]

    def expert_parts(self, owner: str, kind: str) -> Iterator[ParameterPart]:
        """Yield the weight or the bias of each layer of each expert, named after a module."""
        parameter = getattr(self, kind)
        for expert in range(len(parameter)):
            for name, rows in self.parts.items():
                yield ParameterPart(f"{owner}.{expert}.{name}.{kind}", parameter, (expert, rows))
