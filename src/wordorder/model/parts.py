"""Parts of parameters: several linear layers may be stored as one tensor, which is faster."""

from __future__ import annotations

from collections.abc import Iterator
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
        parts: rows of the weights that belong to each layer.
    """

    def __init__(self, experts: int, inputs: int, outputs: dict[str, int]) -> None:
        super().__init__()
        ends = list(accumulate(outputs.values(), initial=0))
        self.weight = nn.Parameter(torch.empty(experts, ends[-1], inputs))
        self.parts = {n: slice(*rows) for n, rows in zip(outputs, pairwise(ends), strict=True)}

    def matrix_parts(self, owner: str) -> Iterator[ParameterPart]:
        """Yield the matrix of each layer of each expert, named after a module and the expert."""
        for expert in range(len(self.weight)):
            for name, rows in self.parts.items():
                part = f"{owner}.{expert}.{name}.weight"
                yield ParameterPart(part, self.weight, (expert, rows))
