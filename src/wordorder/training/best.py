"""A copy of the weights with the lowest held-out loss so far."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

PREFIX = "best."


class BestWeights:
    """A copy of the weights with the lowest held-out loss; of equal losses, the later one.

    Attributes:
        step: the step of the weights.
        averaged: whether they are the average of the weights up to it.
        loss: their loss in nats per token.
        validated: the step of the last validation that was compared.
        weights: tensors by name; None before the first validation.
    """

    def __init__(self) -> None:
        self.step, self.loss, self.validated = 0, math.inf, 0
        self.averaged = False
        self.weights: dict[str, Tensor] | None = None

    def compare(
        self, step: int, loss: float, weights: dict[str, Tensor], averaged: bool = False
    ) -> None:
        """Copy the weights if their loss is the lowest so far."""
        self.validated = step
        if loss <= self.loss:
            self.step, self.loss, self.averaged = step, loss, averaged
            self.weights = {name: tensor.detach().clone() for name, tensor in weights.items()}

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that a checkpoint holds, by name."""
        return {f"{PREFIX}{name}": tensor for name, tensor in (self.weights or {}).items()}

    def facts(self) -> dict[str, Any]:
        """Return the figures for a checkpoint, as JSON."""
        if self.weights is None:
            return {}
        facts = {"step": self.step, "loss": self.loss, "validated": self.validated}
        return {**facts, "averaged": True} if self.averaged else facts

    def load(self, facts: dict[str, Any], tensors: dict[str, Tensor], device: Any) -> None:
        """Restore the state from a checkpoint's `facts` and `tensors`."""
        if facts:
            self.step, self.loss = facts["step"], facts["loss"]
            self.validated, self.averaged = facts["validated"], facts.get("averaged", False)
            names = [name for name in tensors if name.startswith(PREFIX)]
            self.weights = {n.removeprefix(PREFIX): tensors[n].to(device) for n in names}
