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
    ("spec", "code", "values"),
    [
        ("pope+cope", "whole-row-softmax-scale", "Cope .* Pope"),
        ("path+cope", "two-whole-rows", "Path and Cope"),
        ("t5:scaled=false+deberta", "softmax-scales-differ", "1.0"),
        ("transformer-xl+xpos", "needs-product", "XPos and TransformerXL"),
        ("xpos+shaw-values", "needs-product", "XPos and ShawValues"),
        ("pope+shaw", "needs-product", "Pope and Shaw"),
        ("pope+pope", "needs-product", "Pope and Pope"),
        ("randomized:limit=4096+xpos", "too-far-apart", "Randomized .* 4095 .* XPos"),
        ("xpos+pope", "needs-product-last", "XPos and then Pope .* put XPos last"),
        ("xpos+rotary:layout=half", "needs-product-last", "put XPos last"),
        ("offset+learned", "table-too-short", "Offset .* 95 .* Learned .* length=96"),
        ("randomized:limit=64+learned", "table-too-short", "Randomized .* 63 "),
        ("randomized:limit=64+offset:most=8+learned:length=71", "table-too-short", " 71 .* 70"),
        ("learned:length=47", "table-too-short", "trained length .* 47 .* length=48"),
        ("learned/rotary", "input-in-some-layers", "learned"),
    ],
)
def test_what_does_not_go_together_is_refused_at_construction(
    spec: str, code: str, values: str
) -> None:
    with pytest.raises(PositionError, match=values) as caught:
        build(spec, ModelShape(4, 8, layers=2, trained_length=48))
    assert caught.value.code == f"positions.{code}"


def test_what_goes_together_is_built() -> None:
    shape = ModelShape(4, 8, layers=2, trained_length=48)
    build("randomized:limit=64+offset:most=8+learned:length=72", shape)
    build("offset+rotary", shape)
    build("pope+xpos", shape)
    build("xpos/shaw", shape)


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
    with pytest.raises(PositionError) as caught:
        composed.build(spec_module.parse("counted/none", catalogue), shape, catalogue)
    assert caught.value.code == "positions.input-in-some-layers"


def test_an_embedding_for_other_heads_is_refused() -> None:
    other = CATALOGUE["alibi"](ModelShape(8, 8))
    with pytest.raises(PositionError, match=r"Alibi .* 8 .* 4") as caught:
        Sum(ModelShape(4, 8), (other,))
    assert caught.value.code == "positions.other-heads"


def test_an_embedding_that_replaces_attention_must_return_its_output() -> None:
    class Forgetful(Position):
        def attend(self, *arguments: object) -> None:
            return None

    shape = ModelShape(2, 4)
    x = torch.zeros(1, 2, 3, 4)
    with pytest.raises(PositionError, match="attend of Forgetful returned None"):
        Sum(shape, (Forgetful(shape),)).attend(x, x, x, (None,), (None,), x > 0, None, x)
