"""What goes together in a layer and a pattern, and what is refused before anything is read."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wordorder.positions import (
    CATALOGUE,
    ModelShape,
    Position,
    PositionError,
    Sum,
    TokenLayout,
    build,
    composed,
)
from wordorder.positions import spec as spec_module


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ("pope+cope", "Cope replaces attention, and cannot take the softmax scale of Pope"),
        ("path+cope", "Path and Cope both replace attention"),
        ("t5:scaled=false+deberta", "softmax scales"),
        ("offset+learned", "Offset feeds positions up to 95, and the longest that Learned can"),
        ("randomized:limit=64+learned", "Randomized feeds positions up to 63, and the longest"),
        ("randomized:limit=64+offset:most=8+learned:length=71", "feeds positions up to 71"),
        ("learned:length=47", "has positions up to 47, and .* give it length=48"),
        ("learned/rotary", "learned comes in at the input, before all layers"),
    ],
)
def test_what_does_not_go_together_is_refused_at_construction(spec: str, line: str) -> None:
    with pytest.raises(PositionError, match=line):
        build(spec, ModelShape(4, 8, layers=2, trained_length=48))


def test_what_goes_together_is_built() -> None:
    shape = ModelShape(4, 8, layers=2, trained_length=48)
    build("randomized:limit=64+offset:most=8+learned:length=72", shape)
    build("offset+rotary", shape)


def test_what_comes_in_at_the_input_is_added_once_whatever_it_declares() -> None:
    class Counted(Position):
        def __init__(self, shape: ModelShape, /) -> None:
            super().__init__(shape)
            self.weight = torch.nn.Parameter(torch.ones(1))

        def embed(self, x: Tensor, layout: TokenLayout) -> Tensor:
            return x + self.weight

    catalogue = {"counted": Counted, "none": CATALOGUE["none"]}
    shape = ModelShape(4, 8, layers=4)
    made = composed.build(spec_module.parse("counted", catalogue), shape, catalogue)
    assert len(made.instances) == 1
    with pytest.raises(PositionError, match="comes in at the input"):
        composed.build(spec_module.parse("counted/none", catalogue), shape, catalogue)


def test_an_embedding_for_other_heads_is_refused() -> None:
    other = CATALOGUE["alibi"](ModelShape(8, 8))
    with pytest.raises(PositionError, match="Alibi was made for 8 heads, and the model has 4"):
        Sum(ModelShape(4, 8), (other,))
