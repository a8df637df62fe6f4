"""Scores with the query in them take several roads, which must be one function.

Where positions are consecutive, far pairs share a number and near ones are scattered, or
rows are shifted; where positions are given, each pair is looked up. Long texts come some
rows at a time, with the keys that these may see, and a cache has more keys than queries.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wordorder.model import plain_attention
from wordorder.model.additive_mask import AdditiveMask
from wordorder.model.attention import attention
from wordorder.model.problem import AttentionProblem
from wordorder.positions import CATALOGUE, ModelShape, PositionError, TokenLayout, build, parse
from wordorder.positions.conformance.setup import Setup
from wordorder.positions.pairs import Band, Pairs, look_up

BATCH, HEADS, HEAD_DIM, TIME = 3, 2, 4, 23
# Sums of float64 in another order; the sinusoids of transformer-xl are float32.
CLOSE = {"transformer-xl": 2e-6}
SPECS = ["shaw", "shaw:clip=1", "shaw:clip=5", "shaw-values:clip=1", "shaw-values:clip=5"]
SPECS += ["transformer-xl", "deberta", "deberta:span=1", "deberta:span=5", "forgetting"]
each_spec = pytest.mark.parametrize("spec", SPECS)


def read(lab, spec: str, layout: TokenLayout) -> list[Tensor]:
    """Return what attention gives, and its slopes, of the queries that a layout has."""
    composed = build(spec, ModelShape(HEADS, HEAD_DIM, causal=layout.causal)).double()
    for instance in composed.instances:
        instance.reset_parameters(torch.Generator().manual_seed(5))
        lab.filled(instance)
    slots = layout.query_indices
    q, k, v = (lab.numbers(BATCH, HEADS, TIME, HEAD_DIM, seed=seed) for seed in range(3))
    x = lab.numbers(BATCH, TIME, HEADS * HEAD_DIM, seed=3)
    inputs = [each.requires_grad_() for each in (q, k, v, x)]
    position, tables = composed.sums[0], composed.prepare(layout)[0]
    whole = TokenLayout.of(layout.key_positions, layout.key_documents)
    state = position.state(x, whole, None)
    bias = AdditiveMask.of(position, layout, None, q.dtype)
    out = attention(
        AttentionProblem.of(q[:, :, slots], k, v, position, tables, state, bias, kernel="plain")
    )
    weighing = lab.numbers(BATCH, HEADS, TIME, HEAD_DIM, seed=4)[:, :, slots]
    parameters = list(composed.parameters())
    slopes = torch.autograd.grad(out, [*inputs, *parameters], weighing, allow_unused=True)
    return [out, *(slope for slope in slopes if slope is not None)]


def same(spec: str, found: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        close = CLOSE.get(spec.partition(":")[0], 1e-10)
        torch.testing.assert_close(one, other, rtol=0, atol=close)


@each_spec
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("in_parts", [False, True])
def test_consecutive_positions_are_positions(
    lab, monkeypatch: pytest.MonkeyPatch, spec: str, causal: bool, in_parts: bool
) -> None:
    if spec == "forgetting" and not causal:
        pytest.skip("forgetting is causal")
    places = torch.arange(TIME)[None]
    expected = read(lab, spec, TokenLayout.of(places, causal=causal))
    if in_parts:  # of nine rows, nine and five
        monkeypatch.setattr(plain_attention, "LARGEST_SCORES", BATCH * HEADS * TIME * 9)
    for consecutive in (True, False):
        layout = TokenLayout.of(places, causal=causal, consecutive=consecutive)
        same(spec, read(lab, spec, layout), expected)
    rows = (places + torch.tensor([[0], [1000], [70]])).expand(BATCH, -1)
    same(spec, read(lab, spec, TokenLayout.of(rows, causal=causal)), expected)


@each_spec
def test_packed_documents_may_be_declared_consecutive(lab, spec: str) -> None:
    slots = torch.arange(TIME)[None]
    documents = slots // 9
    found = read(lab, spec, TokenLayout.of(slots, documents, consecutive=True))
    same(spec, found, read(lab, spec, TokenLayout.of(slots % 9, documents)))


@each_spec
@pytest.mark.parametrize("last", [1, 2, 9])
def test_with_a_cache_the_last_rows_are_the_last_rows(lab, spec: str, last: int) -> None:
    places = torch.arange(TIME)[None]
    expected = read(lab, spec, TokenLayout.of(places))[0][:, :, -last:]
    for consecutive in (True, False):
        slots = torch.arange(TIME - last, TIME)
        layout = TokenLayout(places[:, -last:], places, slots, consecutive=consecutive)
        same(spec, [read(lab, spec, layout)[0]], [expected])


def test_fractional_distances_take_the_nearest() -> None:
    pairs = Pairs.of(TokenLayout.of(torch.arange(8)[None] / 4))
    slots = torch.arange(8)
    found = pairs.distance(torch.tensor([0]), slots[:, None], slots)
    assert found.dtype == torch.int64
    assert found[7].tolist() == [2, 2, 1, 1, 1, 0, 0, 0]


def test_what_is_picked_is_what_an_index_finds(lab) -> None:
    table = lab.numbers(2, 3, 4, 5)
    batch, head = torch.arange(2)[:, None, None, None], torch.arange(3)[:, None, None]
    row = torch.tensor([[3], [1]])
    column = torch.randint(5, (2, 1, 2, 7), generator=torch.Generator().manual_seed(0))
    assert torch.equal(look_up(table, batch, head, row, column), table[batch, head, row, column])
    single = [torch.tensor([index]) for index in (1, 2, 3, 4)]
    assert torch.equal(look_up(table, *single), table[1, 2, 3, 4][None])


def test_a_band_ends_with_the_keys() -> None:
    band = Band.of(torch.tensor([[0], [3]]), torch.arange(4), most=2, least=-1)
    assert band.outside.tolist() == [[True, True, False, False], [False, False, False, True]]
    scores = band.add_to(torch.zeros(1, 1, 2, 4), torch.tensor([1.0, 2, 3, 4]).expand(1, 1, 2, 4))
    assert scores[0, 0].tolist() == [[3, 4, 0, 0], [0, 1, 2, 3]]
    taken = band.gather_from(torch.arange(8.0).view(1, 1, 2, 4))
    assert taken[0, 0].tolist() == [[0, 0, 0, 1], [5, 6, 7, 0]]


@pytest.mark.parametrize(
    "spec", [n for n, kind in CATALOGUE.items() if "score" in kind.active_hooks()]
)
@pytest.mark.parametrize("causal", [True, False])
def test_a_pair_by_itself_is_as_exact_a_million_off(spec: str, causal: bool) -> None:
    """What a fused kernel asks for, as all pairs at once: sines and FIRE's shares are float32."""
    case = Setup(parse(spec), CATALOGUE, heads=2, key_value_heads=1, causal=causal)
    try:
        reader, x = case.reference_model(), case.inputs(1, 7)
    except PositionError as error:
        if causal:
            raise
        pytest.skip(str(error))
    for places in ([0, 1, 40, 500_000, 999_990, 999_999, 1_000_000], range(999_994, 1_000_001)):
        positions = torch.tensor([[*places]])
        found = reader.read(x, positions, one_by_one=True)
        torch.testing.assert_close(found, reader.read(x, positions), rtol=0, atol=5e-6)
