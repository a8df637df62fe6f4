"""Traps that are no single embedding's: each is tried on all that could fall into it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as trees

from wordorder.positions import CATALOGUE, ModelShape, Position, TokenLayout

SHAPE = ModelShape(4, 8, layers=2, trained_length=48)
POSITIONS = torch.tensor([[0, 1, 5, 40]])
TABLED = [
    name
    for name, kind in CATALOGUE.items()
    if "prepare" in kind.active_hooks() or "distance_bias" in kind.active_hooks()
]


def tensors_of(position: Position) -> list[Tensor]:
    """Return every tensor of the tables, and the bias of distances."""
    distances = POSITIONS[0, :, None] - POSITIONS[0]
    made = position.prepare(TokenLayout.of(POSITIONS)), position.distance_bias(distances)
    return [each for each in trees.tree_leaves(made) if isinstance(each, Tensor)]


@pytest.mark.parametrize("name", TABLED)
def test_no_cache_is_built_on_the_wrong_device(lab, name: str) -> None:
    """Tables are where positions are, whatever the default device when they are made."""
    ready = lab.filled(CATALOGUE[name](SHAPE))
    with torch.device("meta"):
        late = CATALOGUE[name](SHAPE)
    late.to_empty(device="cpu").load_state_dict(ready.state_dict())
    with torch.device("meta"):
        found = tensors_of(late)
    expected = tensors_of(ready)
    assert expected and all(each.device.type == "cpu" for each in found)
    assert [each.tolist() for each in found] == [each.tolist() for each in expected]
