"""Learned positional embedding: one trained vector per position, added at the input."""

import torch
from torch import Tensor, nn

from .base import Geometry, ModelShape, Position, PositionError


class Learned(Position):
    """A table of trained vectors, one per position, as in BERT and GPT-2.

    Args:
        length: positions in the table; 0 takes the model's trained length.

    Raises:
        PositionError: a negative length; at run time, a position past the table.

    Source: Gehring et al. 2017, section 3.1; Devlin et al. 2018.
    Not here: the offset of 2 that OPT and BART add, which is the importer's knowledge.
    """

    summary = "One trained vector per position, added to the word embeddings."
    source = "Gehring et al. 2017, section 3.1"
    door = "input"
    absolute = True
    shift_invariant = False

    def __init__(self, shape: ModelShape, /, *, length: int = 0) -> None:
        super().__init__(shape)
        if length < 0:
            raise PositionError(
                f"learned: length={length} must be 0 (the trained length) or more"
            )
        self.length = length
        self.weight = nn.Parameter(torch.empty(length or shape.trained_length, shape.width))
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the table from N(0, 0.02), as GPT-2 does."""
        nn.init.normal_(self.weight, std=0.02, generator=generator)

    @property
    def longest(self) -> int:
        return len(self.weight) - 1

    def embed(self, x: Tensor, geometry: Geometry) -> Tensor:
        return x + nn.functional.embedding(geometry.query_positions, self.weight).to(x.dtype)
