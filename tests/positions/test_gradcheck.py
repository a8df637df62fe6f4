"""Slopes of every embedding against differences of what a whole reader gives, one by one.

The kit's `gradients` moves all of a parameter at once, along one direction; here each number of
the input and of the parameters is moved by itself, and every number that comes out is looked at.
Kinks (a clamp, a relu, a maximum) have no width: random weights stand on none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from wordorder.positions import (
    CATALOGUE,
    ModelShape,
    PositionError,
    TokenLayout,
    dape,
    fire,
    parse,
    path,
    whole_row,
)
from wordorder.positions.conformance import setup

TIME = 5
# Options with another formula, or whose table is small enough to be moved number by number.
OPTIONS = [
    "sinusoidal:learned_scale=true",
    "sinusoidal:factor=4",
    "learned:rank=2",
    "learned:rank=2,start=sinusoidal",
    "learned:frozen=true",
    "rotary:scaling=yarn,factor=4",
    "rotary:layout=half,fraction=0.5",
    "rotary:fraction=0.5,proportional=true",
    "axial:columns=2",
    "shaw:clip=2",
    "shaw-values:clip=2",
    "deberta:span=3",
    "t5:buckets=8,max_distance=5",
    "t5:scaled=false",
    "kerple:kernel=power",
    "fire:threshold=3",
    "fire:hidden=5,c=2",
    "relative:clip=3",
    "cope:most=2",
    "dape:bias=kerple",
    "dape:bias=kerple,residual=false,hidden=3",
    "dape:bias=none",
    "path:rank=2",
    "path:taps=1,rank=2",
    "pope:spread=6",
    "selective:gate=true,rank=2",
    "self-extend:group=2,neighbours=2",
    "rotary+alibi",
]
READINGS: dict[str, tuple[Tensor | None, Tensor | None]] = {
    "consecutive": (None, None),
    "gaps": (torch.tensor([[0, 1, 3, 9, 30]]), None),
    "packed, with padding": (torch.tensor([[0, 1, 0, 1, 0]]), torch.tensor([[0, 0, 1, 1, -1]])),
}
# Every number moved costs two readings. With more parameters than this, all numbers of a tensor
# are moved at once, along random directions.
FEW = 120


@pytest.fixture(autouse=True)
def _small_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """One layer with heads of four numbers: each of its numbers is moved twice."""
    monkeypatch.setattr(setup, "HEAD_DIM", 4)
    shape = property(lambda case: ModelShape(case.heads, 4, trained_length=48, causal=case.causal))
    monkeypatch.setattr(setup.Setup, "shape", shape)


def made(spec: str, causal: bool, batch: int = 1) -> tuple[Any, list[Tensor]]:
    """Return a reader and what is moved: its input, and all that trains."""
    case = setup.Setup(parse(spec), CATALOGUE, heads=2, key_value_heads=1, causal=causal)
    try:
        reader = case.reference_model()
    except PositionError as error:
        if causal:
            raise
        pytest.skip(str(error))
    reader.position.double()
    parameters = [p for p in reader.position.parameters() if p.requires_grad]
    return reader, [case.inputs(batch, TIME).requires_grad_(), *parameters]


def holds(read: Callable[[Tensor], Tensor], moved: list[Tensor], fast: bool) -> bool:
    """Return whether slopes are differences; parameters are moved in the reader, where they are."""
    return gradcheck(lambda x, *_: read(x), moved, fast_mode=fast)


@pytest.mark.parametrize(
    ("spec", "causal"),
    [
        *((spec, True) for spec in [*CATALOGUE, *OPTIONS]),
        *((spec, False) for spec in CATALOGUE),
        *(pytest.param(spec, False, marks=pytest.mark.slow) for spec in OPTIONS),
    ],
)
def test_slopes_are_those_of_the_function(spec: str, causal: bool) -> None:
    reader, moved = made(spec, causal)
    few = sum(each.numel() for each in moved[1:]) <= FEW
    # What a direction changes is in the mask, whatever the positions are.
    for name, (positions, documents) in [*READINGS.items()][0 if causal else -1 :]:
        fast = not (few and causal and name == "consecutive")
        assert holds(lambda x, p=positions, d=documents: reader.read(x, p, d), moved, fast)


@pytest.mark.parametrize(
    "spec", [*(n for n, k in CATALOGUE.items() if k.door == "row"), "path:rank=2"]
)
def test_slopes_of_rows_computed_in_parts(monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    """Two rows of one text at a time, which the backward pass computes again.

    The reader adds what other embeddings do to scores, and then takes all of them at once.
    """
    for module in (whole_row, dape):
        monkeypatch.setattr(module, "TILE_SCORES", 1)
    monkeypatch.setattr(whole_row, "FEWEST_ROWS", 2)
    monkeypatch.setattr(path, "BLOCK", 2)
    reader, (x, *_) = made(spec, True, batch=2)
    own, composed = reader.position.sums[0], reader.position
    layout = TokenLayout.of(torch.arange(TIME)[None], consecutive=True)
    generator = torch.Generator().manual_seed(3)
    shape = 3, 2, own.shape.heads, TIME, own.shape.head_dim
    vectors = torch.randn(shape, generator=generator, dtype=torch.float64).unbind()
    moved = [x, *(each.clone().requires_grad_() for each in vectors), *own.parts[0].parameters()]

    def read(x: Tensor, queries: Tensor, keys: Tensor, values: Tensor, *_: Tensor) -> Tensor:
        tables, state = composed.prepare(layout)[0], own.state(x, layout, None)
        visible, slots = layout.may_attend(), layout.query_indices
        return own.attend(queries, keys, values, tables, state, visible, None, slots)

    assert gradcheck(read, moved, fast_mode=True)


def test_slopes_of_fires_network_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its backward pass is written out by hand, four pairs at a time."""
    monkeypatch.setattr(fire, "PIECE", 4)
    reader, moved = made("fire:hidden=5", True, batch=2)
    assert holds(reader.read, moved, fast=False)
