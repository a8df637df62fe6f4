"""One embedding in a small model of some shape, and what it is for two readings to agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import composed
from ..base import ModelShape, Position
from ..composed import Composed
from ..reference_model import ReferenceModel
from ..spec import Spec

# Activations are float64 here, but angles and biases are float32 by design, and their sums
# may be taken in another order.
CLOSE = 2e-5
# What must differ, differs by far more than rounding.
APART = 1e-3
HEAD_DIM, TRAINED_LENGTH = 8, 48


class Broken(Exception):
    """A property does not hold: where it first failed, and by how much."""


class NotApplicable(Exception):
    """A property that says nothing about this embedding: why."""


@dataclass(frozen=True)
class Setup:
    """One embedding, by its spec, in a model of one shape."""

    spec: Spec
    catalogue: Mapping[str, type[Position]]
    heads: int = 4
    key_value_heads: int = 2
    causal: bool = True
    trained_length: int = TRAINED_LENGTH

    @property
    def shape(self) -> ModelShape:
        """The model around it."""
        length, causal = self.trained_length, self.causal
        return ModelShape(self.heads, HEAD_DIM, layers=2, trained_length=length, causal=causal)

    def bare(self) -> Composed:
        """Return the embedding as it is made."""
        return composed.build(self.spec, self.shape, self.catalogue)

    def build(self, seed: int = 0) -> Composed:
        """Return the embedding with random parameters, none of them zero."""
        position = self.bare()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for instance in position.instances:
                if hasattr(instance, "reset_parameters"):
                    instance.reset_parameters(generator)
            for parameter in position.parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(0.3 * noise.to(parameter.dtype))
        return position

    def reference_model(self, seed: int = 0, dtype: torch.dtype = torch.float64) -> ReferenceModel:
        """Return a reference with the embedding; a seed always gives the same one."""
        return ReferenceModel(self.build(seed), self.key_value_heads, dtype)

    def text(self, batch: int, time: int, seed: int = 0) -> Tensor:
        """Return random inputs (batch, time, width)."""
        generator = torch.Generator().manual_seed(seed)
        shape = (batch, time, self.heads * HEAD_DIM)
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def far(self, most: int, time: int) -> int:
        """Return a start, `most` if the embedding can represent it, for `time` tokens."""
        longest = self.bare().max_position
        return most if longest is None else min(most, longest + 1 - time)


def same(found: Tensor, expected: Tensor, what: str, tolerance: float = CLOSE) -> None:
    """Raise Broken where two readings (batch, time, width) differ."""
    if not torch.isfinite(found).all():
        raise Broken(f"{what}: not every number is finite")
    apart = (found.double() - expected.double()).detach().abs().amax((0, 2))
    if apart.max() > tolerance:
        first = int((apart > tolerance).nonzero()[0])
        raise Broken(f"{what}: differs by {float(apart[first]):.2g} from token {first} on")
