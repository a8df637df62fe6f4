"""One embedding in a small model, and the comparison of two of its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import composed
from ..base import Position, Resettable
from ..composed import Composed
from ..reference_model import ReferenceModel
from ..shape import ModelShape
from ..spec import Spec

# Tolerance of equal outputs: activations are float64 here, but angles and biases are float32 by
# design, and sums may be computed in another order.
CLOSE = 2e-5
# Outputs that must differ, differ by at least this, far more than rounding.
APART = 1e-3
HEAD_DIM, TRAINED_LENGTH = 8, 48


class CheckFailed(Exception):
    """A property does not hold; the message has the smallest input that shows it."""


class NotApplicable(Exception):
    """A property does not apply to this embedding; the message is the reason."""


@dataclass(frozen=True)
class Setup:
    """A spec, and the shape of the model to check it in."""

    spec: Spec
    catalogue: Mapping[str, type[Position]]
    heads: int = 4
    key_value_heads: int = 2
    causal: bool = True
    trained_length: int = TRAINED_LENGTH

    @property
    def shape(self) -> ModelShape:
        """The shape of the model, which has two layers, or all layers of a longer pattern."""
        length, causal, layers = self.trained_length, self.causal, max(2, len(self.spec.layers))
        return ModelShape(self.heads, HEAD_DIM, layers=layers, trained_length=length, causal=causal)

    def build_default(self) -> Composed:
        """Return the embedding as its constructor leaves it."""
        return composed.build(self.spec, self.shape, self.catalogue)

    def build(self, seed: int = 0) -> Composed:
        """Return the embedding with random parameters, none of them zero."""
        position = self.build_default()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for instance in position.embeddings:
                if isinstance(instance, Resettable):
                    instance.reset_parameters(generator)
            for parameter in position.parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(0.3 * noise.to(parameter.dtype))
        return position

    def reference_model(self, seed: int = 0, dtype: torch.dtype = torch.float64) -> ReferenceModel:
        """Return a model with the embedding; the same seed gives the same weights."""
        return ReferenceModel(self.build(seed), self.key_value_heads, dtype)

    def inputs(self, batch: int, time: int, seed: int = 0) -> Tensor:
        """Return random inputs (batch, time, width) float64."""
        generator = torch.Generator().manual_seed(seed)
        shape = (batch, time, self.heads * HEAD_DIM)
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def first_position(self, most: int, time: int) -> int:
        """Return `most`, or the largest first position with which `time` tokens still fit."""
        limit = self.build_default().max_position
        return most if limit is None else min(most, limit + 1 - time)


def require_equal(output: Tensor, expected: Tensor, case: str, tolerance: float = CLOSE) -> None:
    """Raise if two outputs (batch, time, width) differ by more than a tolerance.

    Args:
        case: the input, for the message.

    Raises:
        CheckFailed: with the first token that differs.
    """
    if not torch.isfinite(output).all():
        raise CheckFailed(f"{case}: the output is not finite")
    difference = (output.double() - expected.double()).detach().abs().amax((0, 2))
    if difference.max() > tolerance:
        first = int((difference > tolerance).nonzero()[0])
        size = float(difference[first])
        raise CheckFailed(f"{case}: outputs differ by {size:.2g} from token {first} on")
