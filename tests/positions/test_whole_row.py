"""Parts of a whole row against the row at once, with their slopes."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from wordorder.model.additive_mask import AdditiveMask
from wordorder.model.attention import attention
from wordorder.model.problem import AttentionProblem
from wordorder.positions import ModelShape, TokenLayout, build, dape, path, whole_row

# float64 sums in another order.
CLOSE = 1e-11
# Biases of distances are float32, and so are the sums of their slopes.
FLOAT32 = 2e-5
ROWS = [
    "cope",
    "cope:most=3",
    "dape",
    "dape:bias=kerple",
    "dape:bias=none",
    "path",
    "alibi+path",
    "shaw-values:clip=3",
    "alibi+shaw-values:clip=3",
]
BATCH, HEADS, TIME, HEAD_DIM = 3, 2, 30, 4


def read(
    spec: str,
    documents: Tensor | None,
    positions: Tensor | None,
    lab,
    *,
    causal: bool = True,
) -> list[Tensor]:
    """Return what is attended to, and the slopes of inputs and parameters."""
    made = build(spec, ModelShape(HEADS, HEAD_DIM, 6, causal=causal))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    inputs = [lab.numbers(BATCH, HEADS, TIME, HEAD_DIM, seed=seed) for seed in range(3)]
    inputs = [each.requires_grad_() for each in (*inputs, lab.numbers(BATCH, TIME, 6, seed=3))]
    queries, keys, values, x = inputs
    consecutive = positions is None
    positions = torch.arange(TIME)[None] if positions is None else positions
    layout = TokenLayout.of(positions, documents, causal=causal, consecutive=consecutive)
    position, tables = made.sums[0], made.prepare(layout)[0]
    state = position.state(x, layout, None)
    bias = AdditiveMask.of(position, layout, None, torch.float64)
    found = attention(AttentionProblem.of(queries, keys, values, position, tables, state, bias))
    wanted = [*inputs, *made.parameters()]
    slopes = torch.autograd.grad(found.square().sum(), wanted, allow_unused=True)
    return [found.detach(), *(slope for slope in slopes if slope is not None)]


@pytest.fixture(
    params=[
        (1, 1),
        (1, 7),
        pytest.param((10 * HEADS * TIME, 7), marks=pytest.mark.slow),
        (HEADS * TIME**2, 7),
    ]
)
def in_parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A row, some rows, or a sequence at a time, once it is called, and smaller blocks of PaTH."""
    at_once, fewest = request.param

    def cut() -> None:
        for module in (whole_row, dape):
            monkeypatch.setattr(module, "TILE_SCORES", at_once)
        monkeypatch.setattr(whole_row, "FEWEST_ROWS", fewest)
        monkeypatch.setattr(path, "BLOCK", 16)

    return cut


def documents_of(packed: bool) -> Tensor | None:
    return (torch.arange(TIME) // torch.tensor([[10], [30], [7]])) if packed else None


POSITIONS = torch.arange(TIME).expand(BATCH, -1) * torch.tensor([[1], [2], [1]])


@pytest.fixture(scope="module")
def whole(lab) -> Callable[[str, bool], list[Tensor]]:
    """Return a function from a spec, and whether texts are packed, to what whole rows give."""
    return functools.cache(lambda spec, packed: read(spec, documents_of(packed), POSITIONS, lab))


def close(spec: str, found: list[Tensor], expected: list[Tensor]) -> None:
    tolerance = FLOAT32 if "dape" in spec or "alibi" in spec else CLOSE
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("spec", ROWS)
@pytest.mark.parametrize("packed", [False, True])
def test_parts_are_the_whole(
    lab,
    whole: Callable[[str, bool], list[Tensor]],
    in_parts: Callable[[], None],
    spec: str,
    packed: bool,
) -> None:
    expected = whole(spec, packed)
    in_parts()
    close(spec, read(spec, documents_of(packed), POSITIONS, lab), expected)


@pytest.mark.parametrize("spec", ["dape", "shaw-values:clip=3"])
@pytest.mark.parametrize("causal", [True, False])
def test_parts_of_consecutive_positions(
    lab, in_parts: Callable[[], None], spec: str, causal: bool
) -> None:
    expected = read(spec, None, None, lab, causal=causal)
    in_parts()
    close(spec, read(spec, None, None, lab, causal=causal), expected)
