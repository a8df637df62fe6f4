"""T5's bias against its paper's formula, against transformers, and the traps its users hit."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from random_weights import filled
from transformers import T5Config
from transformers.models.t5.modeling_t5 import T5Attention

from wordorder.batch import Batch
from wordorder.model import LanguageModel, ModelConfig
from wordorder.positions import T5, ModelShape, PositionError, Rotary, Sum, build
from wordorder.positions.conformance import check

CLOSE = 2e-6  # the table and the bias are float32, of size 1 here
FLOAT32 = 5e-6  # both sides compute attention in float32 there
LOGITS, APART = 1e-5, 1e-2  # of two readings in float32; what no rounding explains

EVERY_DISTANCE = torch.arange(-1_000_000, 1_000_001)
SHAPES = [(32, 128), (32, 256), (64, 1024), (16, 64), (8, 5), (32, 20), (4, 128), (10, 100)]


def dot(a: torch.Tensor, b: torch.Tensor) -> float:
    return sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))


@pytest.mark.parametrize("heads", [1, 6, 12])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("options", [{}, {"scaled": False}, {"buckets": 8, "max_distance": 5}])
@pytest.mark.parametrize("plainly", [True, False])
def test_attention_is_the_papers(formula, lab, heads, causal, options, plainly) -> None:
    options = {"max_distance": 128, **options}
    t5 = lab.filled(T5(ModelShape(heads, 4, causal=causal), **options))
    q, k, v = (lab.numbers(heads, 7, 4, seed=seed) for seed in range(3))
    table, paper = t5.weight.tolist(), formula("t5").score

    def score(h: int, i: int, j: int) -> float:
        product = dot(q[h][i], k[h][j])
        return paper(product, 4, t5.scaled, table, h, i, j, t5.max_distance, causal)

    expected = lab.softmax_rows(score, v.tolist(), causal)
    for start in (0, 1000, 100_000):
        found = lab.attended(t5, q, k, v, start=start, plainly=plainly)
        torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("plainly", [True, False])
def test_far_apart_it_is_still_the_papers(formula, lab, causal: bool, plainly: bool) -> None:
    """Where the wide buckets part, and past max_distance."""
    t5 = lab.filled(T5(ModelShape(3, 4, causal=causal), max_distance=128))
    positions = torch.tensor([0, 7, 8, 15, 16, 23, 90, 91, 113, 128, 500, 2000])
    q, k, v = (lab.numbers(3, len(positions), 4, seed=seed) for seed in range(3))
    table, paper = t5.weight.tolist(), formula("t5").score

    def score(h: int, i: int, j: int) -> float:
        at, to = int(positions[i]), int(positions[j])
        return paper(dot(q[h][i], k[h][j]), 4, True, table, h, at, to, 128, causal)

    found = lab.attended(t5, q, k, v, positions=positions, plainly=plainly)
    expected = lab.softmax_rows(score, v.tolist(), causal)
    torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("buckets,max_distance", SHAPES)
@pytest.mark.parametrize("causal", [True, False])
def test_every_bucket_to_a_million_is_transformers(buckets, max_distance, causal) -> None:
    shape = ModelShape(1, 4, causal=causal)
    ours = T5(shape, buckets=buckets, max_distance=max_distance).bucket(EVERY_DISTANCE)
    theirs = T5Attention._relative_position_bucket(
        -EVERY_DISTANCE, bidirectional=not causal, num_buckets=buckets, max_distance=max_distance
    )
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    "buckets,max_distance,distance,ours,theirs",
    [(48, 81, 54, 40, 39), (46, 164, 107, 40, 41), (60, 16384, 10763, 57, 58)],
)
def test_where_transformers_rounds_a_border(
    formula, buckets, max_distance, distance, ours, theirs
) -> None:
    """Its logarithm is float32: in a few shapes it puts one distance into the next bucket."""
    t5 = T5(ModelShape(1, 4), buckets=buckets, max_distance=max_distance)
    found = t5.bucket(torch.tensor([distance]))
    reference = T5Attention._relative_position_bucket(
        torch.tensor([-distance]), False, buckets, max_distance
    )
    assert int(found) == ours == formula("t5").share(distance, buckets, max_distance)
    assert int(reference) == theirs


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("heads", [4, 6, 12])
def test_attention_is_transformers(causal: bool, heads: int) -> None:
    """Whole attention with identity projections: the scale, the sign and the table at once."""
    time, width = 200, heads * 4
    config = T5Config(d_model=width, d_kv=4, num_heads=heads, is_decoder=causal, dropout_rate=0)
    theirs = T5Attention(config, has_relative_attention_bias=True, layer_idx=0)
    ours = T5(ModelShape(heads, 4, causal=causal), max_distance=128, scaled=False)
    hidden = torch.randn(1, time, width, generator=torch.Generator().manual_seed(0))
    mask = torch.full((time, time), -torch.inf).triu(1)[None, None] if causal else None
    with torch.no_grad():
        for layer in (theirs.q, theirs.k, theirs.v, theirs.o):
            layer.weight.copy_(torch.eye(width))
        theirs.relative_attention_bias.weight.normal_(generator=torch.Generator().manual_seed(1))
        ours.weight.copy_(theirs.relative_attention_bias.weight.T)
        expected = theirs(hidden, mask=mask)[0]
        split = hidden.unflatten(-1, (heads, 4)).transpose(1, 2)[0]
        bias = ours.distance_bias(torch.arange(time)[:, None] - torch.arange(time))
        scores = split @ split.mT * ours.softmax_scale + bias
        scores = scores if mask is None else scores + mask[0]
        found = (scores.softmax(-1) @ split).transpose(0, 1).flatten(1)
        reference_bias = theirs.compute_bias(time, time)[0]
    torch.testing.assert_close(found, expected[0], rtol=0, atol=FLOAT32)
    seen = torch.ones(time, time).tril().bool() if causal else torch.ones(time, time).bool()
    assert torch.equal(bias[:, seen], reference_bias[:, seen])


def test_t5_itself_does_not_divide_by_the_root_of_the_head_size() -> None:
    shape = ModelShape(2, 16)
    assert T5(shape).softmax_scale is None
    assert T5(shape, scaled=False).softmax_scale == 1.0
    both = Sum(shape, (T5(shape, scaled=False), Rotary(shape)))
    assert both.softmax_scale == 1.0


def small_model() -> tuple[LanguageModel, torch.Tensor]:
    """Return a model with random weights, and a text."""
    config = ModelConfig(position="t5", vocabulary_size=40, width=32, layers=2, heads=4)
    tokens = torch.randint(40, (1, 10), generator=torch.Generator().manual_seed(0))
    return filled(LanguageModel(config)).eval(), tokens


def x_transformers():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("x_transformers.x_transformers")


def test_x_transformers_multiplies_the_bias_by_the_root_of_the_head_size(lab) -> None:
    """transformers and we do not: a table is theirs only after it is multiplied once."""
    there, seen = x_transformers(), torch.ones(9, 9).tril().bool()
    theirs = there.Decoder(dim=48, depth=1, heads=3, attn_dim_head=16, rel_pos_bias=True).rel_pos
    transformers = T5Attention(T5Config(d_kv=16, num_heads=3, is_decoder=True), True, 0)
    ours = lab.filled(T5(ModelShape(3, 16), max_distance=128))
    distances = torch.arange(9)[:, None] - torch.arange(9)
    with torch.no_grad():
        for table in (theirs, transformers):
            table.relative_attention_bias.weight.copy_(ours.weight.T)
        plain = ours.distance_bias(distances)[:, seen]
        assert torch.equal(transformers.compute_bias(9, 9)[0][:, seen], plain)
        assert theirs.scale == 16**0.5
        assert torch.equal(theirs(9, 9)[:, seen], 4 * plain)
        assert (theirs(9, 9)[:, seen] - plain).abs().max() > APART
        ours.weight.mul_(4)
        assert torch.equal(theirs(9, 9)[:, seen], ours.distance_bias(distances)[:, seen])


def test_x_transformers_refuses_positions_and_we_pack_texts() -> None:
    there = x_transformers()
    theirs = there.Decoder(dim=8, depth=1, heads=2, attn_dim_head=4, rel_pos_bias=True)
    positions = torch.tensor([[*range(4), *range(6)]])
    with pytest.raises(AssertionError, match="only alibi allowed for custom positions"):
        theirs(torch.zeros(1, 10, 8), pos=positions)
    model, tokens = small_model()
    documents = torch.tensor([[0] * 4 + [1] * 6])
    with torch.no_grad():
        found = model(Batch(tokens, positions=positions, documents=documents))
        expected = torch.cat([model(text) for text in tokens.split((4, 6), 1)], 1)
        apart = model(Batch(tokens, positions=2 * positions, documents=documents)) - expected
    torch.testing.assert_close(found, expected, rtol=0, atol=LOGITS)
    assert apart.abs().max() > APART


@pytest.mark.parametrize("kernel", ["plain", "fused"])
def test_the_bias_is_not_dropped_when_decoding_from_a_cache(kernel: str) -> None:
    model, tokens = small_model()
    without = copy.deepcopy(model)
    read = []
    with torch.no_grad():
        without.position.instances[0].weight.zero_()
        for each in (model, without):
            each.attention_kernel, cache = kernel, each.new_cache()
            read.append(torch.cat([each(some, cache=cache) for some in tokens.split(1, 1)], 1))
        expected = model(tokens)
    torch.testing.assert_close(read[0], expected, rtol=0, atol=LOGITS)
    assert (read[1] - expected)[0, 2:].abs().amax(1).min() > APART


def test_causal_uses_all_buckets_for_the_past() -> None:
    back = torch.arange(2000)
    causal, both = (T5(ModelShape(1, 4, causal=c), max_distance=128) for c in (True, False))
    assert causal.bucket(back).unique().tolist() == list(range(32))
    assert both.bucket(back).unique().tolist() == list(range(16))
    # T5's own form leaves the first bucket of the keys ahead empty.
    assert both.bucket(-back[1:]).unique().tolist() == list(range(17, 32))


def test_key_minus_query_not_query_minus_key() -> None:
    """A key behind its query is in the first half of the buckets, one ahead in the second."""
    t5 = T5(ModelShape(1, 4, causal=False))
    assert t5.bucket(torch.tensor([3, -3])).tolist() == [3, 19]


def test_the_boundary_at_max_distance() -> None:
    """The last bucket begins before max_distance and has no end."""
    for causal, first, last in ((True, 113, 31), (False, 91, 15)):
        t5 = T5(ModelShape(1, 4, causal=causal), max_distance=128)
        distances = torch.tensor([first - 1, first, 127, 128, 129, 1 << 40])
        assert t5.bucket(distances).tolist() == [last - 1, *[last] * 5]


def test_between_two_distances_the_nearer_counts() -> None:
    t5 = T5(ModelShape(1, 4))
    assert t5.bucket(torch.tensor([2.4, 2.6, -0.6])).tolist() == [2, 3, 0]


def test_one_table_serves_all_layers() -> None:
    made = build("t5", ModelShape(6, 4, layers=3))
    assert len(made.instances) == 1
    assert [tuple(p.shape) for p in made.parameters()] == [(6, 32)]


def test_first_values_are_transformers() -> None:
    t5 = T5(ModelShape(64, 4, width=100), buckets=128)
    assert t5.weight.std().item() == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize(
    "options,causal,code,value",
    [
        ({"buckets": 1}, True, "t5-buckets", "buckets=1 .* 2;"),
        ({"buckets": 7}, False, "t5-buckets", "buckets=7 .* even .* 4,"),
        ({"max_distance": 1}, True, "t5-max-distance", "max_distance=1 .* 2,"),
    ],
)
def test_refused(options, causal, code, value) -> None:
    with pytest.raises(PositionError, match=value) as caught:
        T5(ModelShape(2, 4, causal=causal), **options)
    assert caught.value.code == f"positions.{code}"


@pytest.mark.parametrize("spec", ["t5:scaled=false", "t5:buckets=8,max_distance=5"])
@pytest.mark.parametrize("causal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_kit_holds(spec: str, causal: bool) -> None:
    report = check(spec, causal=causal)
    assert report.holds, str(report)
