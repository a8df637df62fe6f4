"""Random weights for small models, none of them zero.

As they are initialised, models write nothing to the residual stream: their context has no
effect, and half of what tests say of it would hold of any code at all.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import nn

from wordorder.model import LanguageModel, ModelConfig
from wordorder.positions import Repo

Model = TypeVar("Model", bound=nn.Module)


@torch.no_grad()
def filled(model: Model) -> Model:
    """Return the model with random values in every weight, always the same ones."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        fan_in = parameter.shape[1] if parameter.dim() == 2 else 1
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * fan_in**-0.5)
    return model


@torch.no_grad()
def random_model(vocabulary_size: int, **options: Any) -> LanguageModel:
    """Return a tiny model with random weights of the size that trained ones have.

    Norms are about 1 with biases about 0, and word vectors as large as what layers add, so that
    logits spread by 1 or more and depend on all of the context.
    """
    sizes = {"vocabulary_size": vocabulary_size, "width": 32, "layers": 2, "heads": 4}
    model = LanguageModel(ModelConfig(**{**sizes, **options}))
    generator = torch.Generator().manual_seed(1)
    computing = computing_positions(model)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() < 2:
            parameter.copy_(0.3 * noise + name.endswith("weight"))
        elif name == "embedding.weight":
            parameter.copy_(noise / model.config.embedding_scale)
        else:
            tables = "position." in name and id(parameter) not in computing
            parameter.copy_(noise * (1 if tables else parameter.shape[-1] ** -0.5))
    for buffer in model.buffers():  # selection biases
        buffer.copy_(0.2 * torch.randn(buffer.shape, generator=generator))
    return model.eval()


def computing_positions(model: nn.Module) -> set[int]:
    """Return the ids of weights that compute positions from hidden states.

    Angles grow with them: far larger than in a trained model, they would make any rounding of
    hidden states another position.
    """
    modules = (module for module in model.modules() if isinstance(module, Repo))
    return {id(parameter) for module in modules for parameter in module.parameters()}
