"""Averaged weights: a running mean of the weights after each step, beside the weights themselves.

    ema   average_t = b_t average_(t-1) + (1 - b_t) weights_t,   b_t = (1 - 1/t)^(g + 1)
    tail  the mean of the weights after each of the last steps

The exponent g gives the mean a width that is a constant share of the steps so far: short in the
first steps, longer later, whatever the length of the run. So it needs no horizon in steps, and a
run whose end is set by the clock has the same average as one whose number of steps is given.

Source: Karras et al. 2023, arXiv 2312.02696, section 3.1 (ema with a width that follows the run's
length); Izmailov et al. 2018, arXiv 1803.05407, section 3 (tail).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

PREFIX = "average."
# A standard deviation of 10% of the steps so far (Karras et al., section 3.1): with 5%, exponent
# 16.97, development losses of nano were .005 to .038 higher (evidence/averaged.jsonl).
EMA_EXPONENT = 6.94
TAIL_SHARE = 0.1  # of all steps


class AveragedWeights:
    """A running mean of a model's weights.

    Args:
        kind: ema or tail.
        weights: the model's tensors by name; the mean is over their values at each `update`.
        exponent: of ema, from 0; the larger, the fewer steps count.
        tail: share of the steps in a tail, from 0 to 1.

    Attributes:
        count: updates so far; the mean is undefined before the first.
    """

    def __init__(
        self,
        kind: Literal["ema", "tail"],
        weights: Mapping[str, Tensor],
        *,
        exponent: float = EMA_EXPONENT,
        tail: float = TAIL_SHARE,
    ) -> None:
        self.kind, self.exponent, self.tail = kind, exponent, tail
        self.count = 0
        self.weights = weights
        self.values = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}

    @torch.no_grad()
    def update(self, step: int, steps: int | None) -> None:
        """Add the weights after a step to the mean.

        Args:
            step: number of steps done, from 1.
            steps: number of steps of the whole run; None: not yet known, and no tail begins.
        """
        if self.kind == "ema":
            share = 1 - (1 - 1 / step) ** (self.exponent + 1)
        elif self.count or (steps is not None and step > steps * (1 - self.tail)):
            share = 1 / (self.count + 1)
        else:
            return
        torch._foreach_lerp_(list(self.values.values()), self.current(), share)
        self.count += 1

    def current(self) -> list[Tensor]:
        """Return the weights as they are now."""
        return list(self.weights.values())

    def tensors(self) -> dict[str, Tensor]:
        """Return the mean by name; {} before the first update."""
        return dict(self.values) if self.count else {}

    def load(self, count: int, tensors: Mapping[str, Tensor]) -> None:
        """Restore the mean from the tensors of a checkpoint, which begin with `PREFIX`."""
        self.count = count
        for name, value in self.values.items() if count else ():
            value.copy_(tensors[f"{PREFIX}{name}"])


@contextmanager
def holding(model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Give a model other weights, and restore its own to the bit afterwards."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(weights)
    try:
        yield
    finally:
        model.load_state_dict(before)
