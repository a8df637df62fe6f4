"""No positional embedding, in all layers or in some."""

from __future__ import annotations

import pytest
import torch

from wordorder.positions import ModelShape, NoPosition, Rotary, build
from wordorder.positions.base import Position
from wordorder.positions.conformance import check
from wordorder.positions.reader import Reader

SAME, APART = 1e-10, 1e-2  # float64 sums in another order; what no rounding explains


@pytest.mark.parametrize(
    "spec,layers",
    [
        ("rotary/none", [Rotary, NoPosition, Rotary, NoPosition, Rotary, NoPosition]),
        ("none/rotary", [NoPosition, Rotary, NoPosition, Rotary, NoPosition, Rotary]),
        ("rotary/rotary/rotary/none", [Rotary, Rotary, Rotary, NoPosition, Rotary, Rotary]),
    ],
)
def test_hybrids_build(spec: str, layers: list[type[Position]]) -> None:
    made = build(spec, ModelShape(6, 4, layers=6))
    assert [type(own.parts[0]) for own in made.sums] == layers
    assert len(made.instances) == 2 and not list(made.parameters())


@pytest.mark.parametrize(
    "spec", ["none", "rotary/none", "none/rotary", "rotary/rotary/rotary/none", "none/alibi+rotary"]
)
@pytest.mark.parametrize("causal", [True, False])
def test_the_kit_holds(spec: str, causal: bool) -> None:
    report = check(spec, causal=causal)
    assert report.holds, str(report)


@pytest.mark.parametrize("spec,blind", [("none", True), ("rotary/none", False)])
def test_words_in_another_order_are_read_alike(lab, spec: str, blind: bool) -> None:
    """A bidirectional model without positions is permutation-equivariant; a hybrid is not."""
    shape = ModelShape(4, 8, layers=2, causal=False)
    reader, x = Reader(build(spec, shape), 4), lab.numbers(1, 9, 32)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    apart = (reader.read(x[:, order]) - reader.read(x)[:, order]).abs().max()
    assert apart < SAME if blind else apart > APART


def test_position_leaks_through_the_causal_mask(lab) -> None:
    """The last token of one layer does not see the order before it; of two layers it does."""
    order = torch.tensor([3, 1, 0, 2, 4])
    x = lab.numbers(1, 5, 32)
    apart = []
    for layers in (1, 2):
        reader = Reader(build("none", ModelShape(4, 8, layers=layers)), 4)
        apart.append((reader.read(x[:, order]) - reader.read(x))[:, -1].abs().max())
    assert apart[0] < SAME and apart[1] > APART
