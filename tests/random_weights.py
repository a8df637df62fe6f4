"""Random weights for small models, none of them zero.

As they are initialised, models write nothing to the residual stream: their context has no
effect, and half of what tests say of it would hold of any code at all.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


@torch.no_grad()
def filled(model: Model) -> Model:
    """Return the model with random values in every weight, always the same ones."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        fan_in = parameter.shape[1] if parameter.dim() == 2 else 1
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * fan_in**-0.5)
    return model
