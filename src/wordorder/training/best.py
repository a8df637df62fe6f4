"""The weights that validated best so far, kept beside those that go on learning."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

PREFIX = "best."


class BestWeights:
    """A copy of the weights with the lowest validation loss; of equal ones, the later.

    Args of the state: `step` where it was measured, `loss` in nats per token, and
    `validated`, the step of the last validation that was compared.
    """

    def __init__(self) -> None:
        self.step, self.loss, self.validated = 0, math.inf, 0
        self.weights: dict[str, Tensor] | None = None

    def compare(self, step: int, loss: float, weights: dict[str, Tensor]) -> None:
        """Keep a copy of the weights if their loss is the lowest."""
        self.validated = step
        if loss <= self.loss:
            self.step, self.loss = step, loss
            self.weights = {name: tensor.detach().clone() for name, tensor in weights.items()}

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that a checkpoint holds, by name."""
        return {f"{PREFIX}{name}": tensor for name, tensor in (self.weights or {}).items()}

    def facts(self) -> dict[str, Any]:
        """Return the figures that a checkpoint holds, as JSON."""
        if self.weights is None:
            return {}
        return {"step": self.step, "loss": self.loss, "validated": self.validated}

    def load(self, facts: dict[str, Any], tensors: dict[str, Tensor], device: Any) -> None:
        """Take what `facts` and `tensors` gave."""
        if facts:
            self.step, self.loss = facts["step"], facts["loss"]
            self.validated = facts["validated"]
            names = [name for name in tensors if name.startswith(PREFIX)]
            self.weights = {n.removeprefix(PREFIX): tensors[n].to(device) for n in names}
