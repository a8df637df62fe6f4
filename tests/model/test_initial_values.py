"""Training begins with the values that `reset_parameters` of a user-defined embedding sets."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from wordorder.model import LanguageModel, ModelConfig, make_model
from wordorder.positions import CATALOGUE, ModelShape, Position, PositionError


class Net(Position):
    """A bias by distance from a small network, whose parameters are all in child modules."""

    door = "bias"

    def __init__(self, shape: ModelShape, /) -> None:
        super().__init__(shape)
        self.output = nn.Linear(1, shape.heads)
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        with torch.no_grad():
            for parameter in self.output.parameters():
                parameter.copy_(5 + torch.rand(parameter.shape, generator=generator))

    def distance_bias(self, distance: Tensor) -> Tensor:
        return self.output(distance[..., None].float()).movedim(-1, 0)


class WithoutReset(Position):
    door = "bias"

    def __init__(self, shape: ModelShape, /) -> None:
        super().__init__(shape)
        self.slope = nn.Parameter(torch.zeros(shape.heads))

    def distance_bias(self, distance: Tensor) -> Tensor:
        return self.slope[:, None, None] * distance


def model_with(kind: type[Position], monkeypatch: pytest.MonkeyPatch) -> LanguageModel:
    monkeypatch.setitem(CATALOGUE, "toy", kind)
    config = ModelConfig(
        vocabulary_size=30, width=16, heads=2, layers=2, trained_length=8, position="toy"
    )
    return make_model(config)


def test_parameters_of_child_modules_are_set_by_the_embedding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = model_with(Net, monkeypatch)
    model.initialise(3)
    values = torch.cat([p.detach().flatten() for p in model.position.parameters()])
    assert float(values.min()) >= 5 and float(values.max()) <= 6
    again = model_with(Net, monkeypatch)
    again.initialise(3)
    pairs = zip(model.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


def test_an_embedding_that_cannot_be_reset_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PositionError, match="WithoutReset has parameters and no method") as caught:
        model_with(WithoutReset, monkeypatch).initialise(0)
    assert caught.value.code == "positions.not-resettable"
