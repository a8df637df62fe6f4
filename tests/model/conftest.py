"""Tiny models whose every weight is random and none is zero.

As they are initialised, models write nothing to the residual stream: their context has
no effect, and half of what is claimed about positions would hold of any code at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from random_weights import computing_positions

from wordorder.model import LanguageModel, ModelConfig, TokenModel, make_model
from wordorder.positions import CATALOGUE, ModelShape, Position, PositionError, composed
from wordorder.positions import spec as spec_module

SMALL = {
    "embedding_scale": 1.0,  # `fill` draws words as large as the rest
    "vocabulary_size": 40,
    "width": 32,
    "layers": 2,
    "heads": 4,
    "key_value_heads": 2,
    "feed_forward_width": 48,
    "trained_length": 64,
}

MakeModel = Callable[..., LanguageModel]


def fill(model: TokenModel, seed: int) -> None:
    """Give every parameter random values of about the size that training gives it."""
    generator = torch.Generator().manual_seed(seed)
    computing = computing_positions(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.startswith("position.") and id(parameter) not in computing:
                parameter.copy_(noise)
            elif parameter.dim() < 2:
                parameter.copy_(0.3 * noise + (1.0 if name.endswith("weight") else 0.0))
            elif name.startswith("embedding."):
                parameter.copy_(noise)
            else:
                parameter.copy_(noise * parameter.shape[-1] ** -0.5)
        for buffer in model.buffers():  # selection biases
            buffer.copy_(0.2 * torch.randn(buffer.shape, generator=generator))


@pytest.fixture(autouse=True)
def _skip_what_cannot_be(request: pytest.FixtureRequest) -> None:
    """Some embeddings look back alone: a test asks for them in no bidirectional model."""
    given = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    options = given.get("options")
    causal = given.get("causal", options.get("causal", True) if isinstance(options, dict) else True)
    if given.get("spec") in CATALOGUE and not causal and not sees_both_ways(given["spec"]):
        pytest.skip(f"{given['spec']} is for causal models")


def sees_both_ways(name: str) -> bool:
    """Whether an embedding can be in a bidirectional model."""
    try:
        CATALOGUE[name](ModelShape(4, 8, causal=False))
    except PositionError:
        return False
    return True


@pytest.fixture(scope="session")
def both_ways() -> Callable[[str], bool]:
    return lambda spec: spec not in CATALOGUE or sees_both_ways(spec)


@pytest.fixture(scope="session")
def make_random() -> MakeModel:
    """Return a function (spec, catalogue of one's own, seed, configuration) -> model."""

    def make(
        position: str = "rotary",
        *,
        catalogue: Mapping[str, type[Position]] | None = None,
        seed: int = 0,
        **options: object,
    ) -> TokenModel:
        given = {**SMALL, "position": "none" if catalogue else position, **options}
        model = make_model(ModelConfig(**given))  # type: ignore[arg-type]
        if catalogue:
            c = model.config
            shape = ModelShape(c.heads, c.head_dim, c.width, c.layers, c.trained_length, c.causal)
            spec = spec_module.parse(position, catalogue)
            model.position = composed.build(spec, shape, catalogue)
        fill(model, seed)
        return model.eval()

    return make
