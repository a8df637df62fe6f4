"""Shaw's relative positions against their paper's formula, transformers, and their traps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wordorder.positions import (
    Alibi,
    ModelShape,
    PositionError,
    Shaw,
    ShawValues,
    Sum,
    TokenLayout,
    index_grid,
)
from wordorder.positions.conformance import check
from wordorder.positions.reference_model import plain_attention

# Everything here is float64, with sums in another order.
CLOSE = 1e-12
# The reference computes in float32.
THEIRS = 1e-6

STARTS = (0, 1000, 100_000)


def inputs(lab, heads: int, time: int = 7) -> list[Tensor]:
    return [lab.numbers(heads, time, 4, seed=seed) for seed in range(3)]


@pytest.mark.parametrize("clip", [1, 2, 16])
@pytest.mark.parametrize("heads", [1, 6, 12])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("plainly", [True, False])
def test_attention_is_the_papers(
    formula, lab, clip: int, heads: int, causal: bool, plainly: bool
) -> None:
    shape = ModelShape(heads, 4, causal=causal)
    shaw, values = lab.filled(Shaw(shape, clip=clip)), lab.filled(ShawValues(shape, clip=clip))
    with torch.no_grad():
        values.weight.copy_(shaw.weight)
    vectors, value_vectors = shaw.weight.tolist(), values.value_weight.tolist()
    paper = formula("shaw")
    q, k, v = inputs(lab, heads)

    def score(h: int, i: int, j: int) -> float:
        return paper.score(q[h][i].tolist(), k[h][j].tolist(), vectors, i, j)

    expected = lab.softmax_rows(score, v.tolist(), causal)
    ones = torch.eye(7, dtype=torch.float64).expand(heads, 7, 7).tolist()
    weights = lab.softmax_rows(score, ones, causal).tolist()
    rows = [
        [paper.output(weights[h][i], v[h].tolist(), value_vectors, range(7), i) for i in range(7)]
        for h in range(heads)
    ]
    with_values = torch.tensor(rows, dtype=torch.float64)
    for start in STARTS:
        for given in (None, torch.arange(start, start + 7)):
            where = {"start": start, "positions": given, "plainly": plainly}
            found = lab.attended(shaw, q, k, v, **where)
            torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)
            found = lab.attended(values, q, k, v, **where)
            torch.testing.assert_close(found, with_values, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("spec", ["shaw:clip=2", "shaw-values:clip=2"])
@pytest.mark.parametrize("causal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_it_conforms(spec: str, causal: bool) -> None:
    report = check(spec, causal=causal)
    assert report.holds, str(report)


@pytest.mark.parametrize("clip", [2, 16])
def test_scores_are_those_of_wav2vec2_bert(lab, clip: int) -> None:
    """Its `relative_key`: no mask, keys only, one table for all heads."""
    there = pytest.importorskip("transformers.models.wav2vec2_bert.modeling_wav2vec2_bert")
    config = there.Wav2Vec2BertConfig(
        hidden_size=24,
        num_attention_heads=3,
        position_embeddings_type="relative_key",
        left_max_position_embeddings=clip,
        right_max_position_embeddings=clip,
    )
    module = there.Wav2Vec2BertSelfAttention(config)
    shaw = lab.filled(Shaw(ModelShape(3, 8, causal=False), clip=clip))
    q, k = (lab.numbers(2, 3, 9, 8, seed=seed).float() for seed in range(2))
    with torch.no_grad():
        module.distance_embedding.weight.copy_(shaw.weight)
        expected = there._apply_relative_key_position_encoding(module, q, k)[1]
    for consecutive in (True, False):
        found = grid_of(shaw, q, k, consecutive)
        torch.testing.assert_close(found, expected, rtol=0, atol=THEIRS)


def grid_of(shaw: Shaw, q: Tensor, k: Tensor, consecutive: bool) -> Tensor:
    """Return what is added to the score of every pair, (batch, heads, query, key)."""
    layout = TokenLayout.of(
        torch.arange(q.shape[2])[None], causal=shaw.shape.causal, consecutive=consecutive
    )
    score = shaw.score(q, k, shaw.prepare(layout), None)
    zeros = q.new_zeros(*q.shape[:3], k.shape[2])
    return score(zeros, *index_grid(zeros, layout.query_indices)).detach()


# -- traps ------------------------------------------------------------------------------------


@pytest.mark.parametrize("plainly", [True, False])
def test_values_too_not_only_keys(lab, plainly: bool) -> None:
    """Without vectors for values it is `shaw`; with one for all, every output moves by it."""
    shape = ModelShape(2, 4)
    shaw, values = lab.filled(Shaw(shape, clip=2)), ShawValues(shape, clip=2)
    q, k, v = inputs(lab, 2)
    expected = lab.attended(shaw, q, k, v, plainly=plainly)
    with torch.no_grad():
        values.weight.copy_(shaw.weight)
        for vector in (torch.zeros(4), torch.tensor([1.0, -2, 3, 0.5])):
            values.value_weight.copy_(vector)
            found = lab.attended(values, q, k, v, plainly=plainly)
            torch.testing.assert_close(found, expected + vector, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("causal", [True, False])
def test_clipping_at_k(lab, causal: bool) -> None:
    """At k it is already what it is further off; at k - 1 it is not yet."""
    shaw = lab.filled(Shaw(ModelShape(1, 4, causal=causal), clip=3))
    q = lab.numbers(1, 1, 1, 4).expand(-1, -1, 9, -1)
    for consecutive in (True, False):
        added = grid_of(shaw, q, q, consecutive)[0, 0, 4]  # distances 4 to -4
        assert added[0] == added[1] != added[2]
        if not causal:
            assert added[8] == added[7] != added[6]
            assert added[0] != added[8]


def test_the_past_is_not_the_future(lab) -> None:
    """The first vector is that of the farthest past: key minus query is -k there."""
    shaw = lab.filled(Shaw(ModelShape(1, 4, causal=False), clip=2))
    q = lab.numbers(1, 1, 6, 4)
    for consecutive in (True, False):
        added = grid_of(shaw, q, q, consecutive)[0, 0]
        expected = q[0, 0].double() @ shaw.weight.double().mT / 2
        torch.testing.assert_close(added[5, 0], expected[5, 0], rtol=0, atol=CLOSE)
        torch.testing.assert_close(added[0, 5], expected[0, 4], rtol=0, atol=CLOSE)


def test_values_see_what_stands_beside_them(lab) -> None:
    """The scores of the other embeddings of a layer reach the weights."""
    shape = ModelShape(2, 4)
    shaw, values = lab.filled(Shaw(shape)), ShawValues(shape)
    with torch.no_grad():
        values.weight.copy_(shaw.weight)
        values.value_weight.zero_()
    q, k, v = (each[None] for each in inputs(lab, 2))
    layout = TokenLayout.of(torch.arange(7)[None], consecutive=True)
    found = []
    for relative in (shaw, values):
        parts = (Alibi(shape), relative)
        tables = tuple(part.prepare(layout) for part in parts)
        whole = Sum(shape, parts)
        found.append(plain_attention(whole, q, k, v, tables, (None, None), layout))
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=CLOSE)


@pytest.mark.parametrize("embedding", [Shaw, ShawValues])
def test_a_clip_below_1_is_refused(embedding: type) -> None:
    with pytest.raises(PositionError, match="clip=0") as caught:
        embedding(ModelShape(2, 4), clip=0)
    assert caught.value.code == "positions.shaw-clip"


def test_first_values_are_glorots() -> None:
    values = ShawValues(ModelShape(2, 64))
    limit = (6 / (33 + 64)) ** 0.5
    for weight in (values.weight, values.value_weight):
        assert weight.shape == (33, 64)
        assert 0.99 * limit < float(weight.detach().abs().max()) <= limit
    assert not torch.equal(values.weight, values.value_weight)
