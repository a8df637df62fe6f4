"""Rotary, ALiBi and T5's bias in x-transformers are ours, and where they are not is said.

Whole attention is compared, with identity projections: the layout, the scale and the sign at
once. Its rotary turns neighbouring pairs, as ours does; its angles are float32. Its ALiBi has
our slopes, and leaves heads past its own without a bias. Its T5 multiplies the table by
sqrt(head_dim), divides products by it, and takes its buckets from a float32 logarithm.
"""

from __future__ import annotations

import math
import warnings
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from wordorder.positions import T5, Alibi, ModelShape, Position, Rotary, Sum, TokenLayout
from wordorder.positions.reference_model import plain_attention

HEAD_DIM, TIME = 16, 140
# Attention of 140 tokens in float32 on both sides.
FLOAT32 = 5e-6
# Their angles are float32: near 1,000 they are off by up to 6e-5.
THEIRS = 5e-5
# A slope and its product with a distance, rounded on both sides.
ROUNDED = 2.0**-22
APART = 0.01


@pytest.fixture(scope="module")
def there() -> ModuleType:
    """The reference, without what it warns of while it is imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("x_transformers.x_transformers")


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def theirs(there: ModuleType, x: Tensor, heads: int, causal: bool, **given: Any) -> Tensor:
    """Return their attention to x (1, time, heads * head_dim), which is query, key and value."""
    width = heads * HEAD_DIM
    module = there.Attention(width, dim_head=HEAD_DIM, heads=heads, causal=causal).eval()
    for layer in (module.to_q, module.to_k, module.to_v, module.to_out):
        if not isinstance(layer, torch.nn.Identity):  # of one head to_out is one
            layer.weight.copy_(torch.eye(width))
    return module(x, **given)


@torch.no_grad()
def ours(position: Position, x: Tensor, start: int = 0) -> Tensor:
    """Return attention with the embedding, at consecutive positions."""
    vectors = x.unflatten(-1, (-1, HEAD_DIM)).transpose(1, 2)
    places = torch.arange(start, start + x.shape[1])[None]
    layout = TokenLayout.of(places, causal=position.shape.causal, consecutive=True)
    whole, tables = Sum(position.shape, (position,)), (position.prepare(layout),)
    found = plain_attention(whole, vectors, vectors, vectors, tables, (None,), layout)
    return found.transpose(1, 2).flatten(-2)


# -- rotary ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({}, {}),
        ({"dim": HEAD_DIM // 2}, {"fraction": 0.5}),
        ({"base": 500}, {"base": 500.0}),
        ({"interpolation_factor": 4.0}, {"scaling": "linear", "factor": 4.0}),
        ({"base_rescale_factor": 4.0}, {"scaling": "ntk", "factor": 4.0}),
        (
            {"dim": HEAD_DIM // 2, "base_rescale_factor": 8.0},
            {"fraction": 0.5, "scaling": "ntk", "factor": 8.0},
        ),
    ],
)
@pytest.mark.parametrize("start", [0, 1000])
def test_rotary(there, given: dict[str, Any], options: dict[str, Any], start: int) -> None:
    """Half of the head by default there; `fraction` here. Its factors are linear and ntk."""
    module = there.RotaryEmbedding(**{"dim": HEAD_DIM, **given})
    x = numbers(1, TIME, 3 * HEAD_DIM)
    expected = theirs(there, x, 3, True, rotary_pos_emb=module(torch.arange(start, start + TIME)))
    found = ours(Rotary(ModelShape(3, HEAD_DIM), **options), x, start)
    torch.testing.assert_close(found, expected, rtol=0, atol=THEIRS if start else FLOAT32)


def test_rotary_takes_neighbours_not_halves(there) -> None:
    x = numbers(1, TIME, 3 * HEAD_DIM)
    module = there.RotaryEmbedding(HEAD_DIM)
    expected = theirs(there, x, 3, True, rotary_pos_emb=module(torch.arange(TIME)))
    halves = ours(Rotary(ModelShape(3, HEAD_DIM), layout="half"), x)
    assert (halves - expected).abs().max() > APART


def test_their_angles_are_float32(there) -> None:
    """Near a million they are off by hundredths, and ours by the rounding of a cosine."""
    positions = torch.arange(999_900, 1_000_001)
    angles, _ = there.RotaryEmbedding(64)(positions)
    cosine = Rotary(ModelShape(1, 64)).prepare(TokenLayout.of(positions[None]))[0].cosine[0, 0]
    exact = torch.tensor(
        [[math.cos(p * 10000 ** (-i / 32)) for i in range(32)] for p in positions.tolist()],
        dtype=torch.float64,
    )
    assert (cosine.double() - exact).abs().max() < 2.0**-24
    assert (angles[0, :, ::2].cos().double() - exact).abs().max() > APART


# -- ALiBi ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("heads", [1, 4, 6, 8, 12])
@pytest.mark.parametrize("causal", [True, False])
def test_alibi(there, heads: int, causal: bool) -> None:
    """Its bias of all pairs, of the last queries of a cache, of given positions; and attention."""
    position, module = Alibi(ModelShape(heads, HEAD_DIM, causal=causal)), None
    places = torch.tensor([0, 1, 5, 700, 1_000_000])
    for queries, keys in ((TIME, TIME), (3, TIME), (1, 7)):
        module = there.AlibiPositionalBias(heads)
        distance = torch.arange(keys - queries, keys)[:, None] - torch.arange(keys)
        found, expected = position.distance_bias(distance), module(queries, keys)
        torch.testing.assert_close(found, expected, rtol=ROUNDED, atol=0)
    found = position.distance_bias(places[:, None] - places)
    expected = module.forward_custom_pos(places)
    torch.testing.assert_close(found, expected, rtol=ROUNDED, atol=0)
    x = numbers(1, TIME, heads * HEAD_DIM)
    expected = theirs(there, x, heads, causal, rel_pos=there.AlibiPositionalBias(heads))
    torch.testing.assert_close(ours(position, x), expected, rtol=0, atol=FLOAT32)


def test_their_alibi_may_leave_heads_without_a_bias(there) -> None:
    """Four of six heads have the slopes of four heads; ours have those of six."""
    expected = there.AlibiPositionalBias(4, total_heads=6)(TIME, TIME)
    distance = torch.arange(TIME)[:, None] - torch.arange(TIME)
    four, six = (Alibi(ModelShape(h, HEAD_DIM)).distance_bias(distance) for h in (4, 6))
    torch.testing.assert_close(four, expected[:4], rtol=ROUNDED, atol=0)
    assert not expected[4:].any() and six[4:].abs().max() > 1


# -- T5 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("heads", [1, 6, 12])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("shape", [(32, 128), (8, 20)])
@torch.no_grad()
def test_t5(there, heads: int, causal: bool, shape: tuple[int, int]) -> None:
    """Our table is theirs times sqrt(head_dim), beside products that are scaled."""
    module = there.RelativePositionBias(
        HEAD_DIM**0.5, causal, num_buckets=shape[0], max_distance=shape[1], heads=heads
    )
    table = 0.3 * numbers(shape[0], heads, seed=1)
    module.relative_attention_bias.weight.copy_(table)
    options = {"buckets": shape[0], "max_distance": shape[1]}
    position = T5(ModelShape(heads, HEAD_DIM, causal=causal), **options)
    position.weight.copy_(table.T * HEAD_DIM**0.5)
    x = numbers(1, TIME, heads * HEAD_DIM)
    expected = theirs(there, x, heads, causal, rel_pos=module)
    torch.testing.assert_close(ours(position, x), expected, rtol=0, atol=FLOAT32)
    position.weight.copy_(table.T)
    assert (ours(position, x) - expected).abs().max() > APART


@pytest.mark.parametrize("buckets,max_distance", [(32, 128), (64, 1024), (16, 64), (32, 256)])
@pytest.mark.parametrize("causal", [True, False])
def test_t5s_buckets(there, buckets: int, max_distance: int, causal: bool) -> None:
    """Of every distance to a million either way: theirs counts key minus query, as T5 does."""
    distance = torch.arange(-1_000_000, 1_000_001)
    position = T5(ModelShape(1, 4, causal=causal), buckets=buckets, max_distance=max_distance)
    bucket = there.RelativePositionBias._relative_position_bucket
    assert torch.equal(position.bucket(distance), bucket(-distance, causal, buckets, max_distance))


@pytest.mark.parametrize(
    ("buckets", "max_distance", "distance", "exact", "rounded"),
    [(48, 81, 54, 40, 39), (46, 164, 107, 40, 41), (60, 16384, 10763, 57, 58)],
)
def test_where_their_logarithm_rounds_a_border(
    there, buckets: int, max_distance: int, distance: int, exact: int, rounded: int
) -> None:
    """As transformers' does: see `test_t5`."""
    found = T5(ModelShape(1, 4), buckets=buckets, max_distance=max_distance)
    assert int(found.bucket(torch.tensor([distance]))) == exact
    bucket = there.RelativePositionBias._relative_position_bucket
    assert int(bucket(torch.tensor([-distance]), True, buckets, max_distance)) == rounded
