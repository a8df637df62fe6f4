"""Transformer-XL's relative positions against their paper's formula, two peers, and traps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wordorder.positions import ModelShape, PositionError, TokenLayout, TransformerXL, index_grid

# Sines and cosines are float32, 6e-8 each, and a score of size 1 to 5 sums a few dozen.
CLOSE = 3e-6
# References take their angles and everything else in float32.
THEIRS = 2e-5
APART = 1e-2

HEAD_DIM = 4


@pytest.fixture
def make(lab):
    """Return a function that makes one with weights of size 0.3."""
    return lambda heads, **shape: lab.filled(TransformerXL(ModelShape(heads, HEAD_DIM, **shape)))


def inputs(lab, heads: int, time: int = 9) -> list[Tensor]:
    return [lab.numbers(heads, time, HEAD_DIM, seed=seed) for seed in range(3)]


def papers(formula, lab, position: TransformerXL, q, k, v, places: list[int]) -> Tensor:
    paper = formula("transformer_xl").score
    u, v_bias = position.content_bias.tolist(), position.position_bias.tolist()
    weight = position.weight.tolist()

    def score(h: int, i: int, j: int) -> float:
        query, key = q[h][i].tolist(), k[h][j].tolist()
        return paper(query, key, weight[h], u[h], v_bias[h], places[i], places[j])

    return lab.softmax_rows(score, v.tolist(), position.shape.causal)


@pytest.mark.parametrize("heads", [1, 6, 12])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("plainly", [True, False])
def test_attention_is_the_papers(
    formula, lab, make, heads: int, causal: bool, plainly: bool
) -> None:
    position = make(heads, causal=causal)
    q, k, v = inputs(lab, heads)
    expected = papers(formula, lab, position, q, k, v, list(range(9)))
    for start in (0, 1000, 100_000):
        for given in (None, torch.arange(start, start + 9)):
            found = lab.attended(position, q, k, v, start=start, positions=given, plainly=plainly)
            torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("before", [0, 5])
def test_it_is_xlnets(lab, make, causal: bool, before: int) -> None:
    """With a memory too: `before` keys that are no queries."""
    transformers = pytest.importorskip("transformers")
    config = transformers.XLNetConfig(
        vocab_size=3,
        d_model=12,
        n_layer=1,
        n_head=3,
        d_inner=4,
        attn_type="uni" if causal else "bi",
        dropout=0.0,
    )
    model = transformers.XLNetModel(config).eval()
    layer, position = model.layer[0].rel_attn, make(3, causal=causal)
    time, seen = 9, 9 + before
    q = lab.numbers(2, 3, time, HEAD_DIM).float()
    k, v = (lab.numbers(2, 3, seen, HEAD_DIM, seed=seed).float() for seed in (1, 2))
    layout = TokenLayout(
        torch.arange(before, seen)[None],
        torch.arange(seen)[None],
        torch.arange(before, seen),
        causal=causal,
        consecutive=True,
    )
    with torch.no_grad():
        layer.r_w_bias.copy_(position.content_bias)
        layer.r_r_bias.copy_(position.position_bias)
        vectors = model.relative_positional_encoding(time, seen, bsz=2)
        vectors = torch.einsum("ibh,ndh->ibnd", vectors, position.weight)
        theirs = [each.permute(2, 0, 1, 3) for each in (q, k, v)]
        hidden = (~layout.may_attend())[:, 0].float().permute(1, 2, 0)[..., None]
        expected = layer.rel_attn_core(*theirs, vectors, attn_mask=hidden)
        found = attention_of(position, q, k, v, layout)
    torch.testing.assert_close(found.permute(2, 0, 1, 3), expected, rtol=0, atol=THEIRS)


def attention_of(position: TransformerXL, q: Tensor, k: Tensor, v: Tensor, layout) -> Tensor:
    scores = grid_of(position, q, k, layout) + q @ k.mT / 2
    return scores.masked_fill(~layout.may_attend(), float("-inf")).softmax(-1) @ v


def grid_of(position: TransformerXL, q: Tensor, k: Tensor, layout: TokenLayout) -> Tensor:
    """Return what is added to the score of every pair, (batch, heads, query, key)."""
    score = position.score(q, k, position.prepare(layout), None)
    zeros = q.new_zeros(*q.shape[:3], k.shape[2])
    return score(zeros, *index_grid(zeros, layout.query_indices)).detach()


def test_it_is_wav2vec2_berts(lab, make) -> None:
    """Its `relative`, without a mask; its sines and cosines stand in turns."""
    there = pytest.importorskip("transformers.models.wav2vec2_bert.modeling_wav2vec2_bert")
    config = there.Wav2Vec2BertConfig(
        hidden_size=12, num_attention_heads=3, position_embeddings_type="relative"
    )
    module, position = there.Wav2Vec2BertSelfAttention(config), make(3, causal=False)
    table = there.Wav2Vec2BertRelPositionalEmbedding(config)(torch.zeros(1, 9, 12))
    q, k = (lab.numbers(2, 3, 9, HEAD_DIM, seed=seed).float() for seed in range(2))
    with torch.no_grad():
        weight = position.weight.flatten(0, 1)
        module.linear_pos.weight.copy_(torch.stack(weight.chunk(2, -1), -1).flatten(-2))
        module.pos_bias_u.copy_(position.content_bias)
        module.pos_bias_v.copy_(position.position_bias)
        queries, bias = there._apply_relative_position_encoding(module, q, k, table)
        expected = (queries - q) @ k.mT * module.scaling + bias
    layout = TokenLayout.of(torch.arange(9)[None], causal=False, consecutive=True)
    found = grid_of(position, q, k, layout)
    torch.testing.assert_close(found, expected, rtol=0, atol=THEIRS)


# -- traps ------------------------------------------------------------------------------------


def test_the_shift_reads_garbage_above_the_diagonal(lab, make) -> None:
    """It is there, and hidden: in a causal model alone, and only where none sees it."""
    q, k = (lab.numbers(2, 3, 9, HEAD_DIM, seed=seed) for seed in range(2))
    grids = {}
    for causal in (True, False):
        position, places = make(3, causal=causal), torch.arange(9)[None]
        if causal:
            first = position
        position.load_state_dict(first.state_dict())
        for consecutive in (True, False):
            layout = TokenLayout.of(places, causal=causal, consecutive=consecutive)
            grids[causal, consecutive] = grid_of(position, q, k, layout)
    exact = grids[False, False]
    ahead = torch.ones(9, 9, dtype=torch.bool).triu(1)
    for grid in grids.values():
        torch.testing.assert_close(grid[..., ~ahead], exact[..., ~ahead], rtol=0, atol=CLOSE)
    for name in ((True, False), (False, True)):
        torch.testing.assert_close(grids[name], exact, rtol=0, atol=CLOSE)
    assert (grids[True, True] - exact)[..., ahead].abs().max() > APART
    assert grids[True, True].isfinite().all()


@pytest.mark.parametrize("causal", [True, False])
def test_the_shift_is_for_consecutive_positions_alone(formula, lab, make, causal: bool) -> None:
    """With gaps, and with positions out of order, the distances are the positions'."""
    position = make(2, causal=causal)
    q, k, v = inputs(lab, 2)
    plain = papers(formula, lab, position, q, k, v, list(range(9)))
    for places in ([0, 1, 2, 5, 6, 40, 1000, 1001, 70_000], [3, 0, 8, 1, 7, 2, 6, 4, 5]):
        expected = papers(formula, lab, position, q, k, v, places)
        assert (expected - plain).abs().max() > APART
        for plainly in (True, False):
            found = lab.attended(position, q, k, v, positions=torch.tensor(places), plainly=plainly)
            torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


def test_fractional_positions_have_fractional_distances(formula, lab, make) -> None:
    position = make(2)
    q, k, v = inputs(lab, 2)
    places = torch.arange(9) / 4
    expected = papers(formula, lab, position, q, k, v, places.tolist())
    found = lab.attended(position, q, k, v, positions=places)
    torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


def test_u_meets_the_content_and_v_the_distance(lab, make) -> None:
    """Without W only u counts, and not where keys are alike; v moves all keys at a distance."""
    position = make(1)
    q, k = (lab.numbers(1, 1, 9, HEAD_DIM, seed=seed) for seed in range(2))
    layout = TokenLayout.of(torch.arange(9)[None])
    with torch.no_grad():
        position.weight.zero_()
        by_content = grid_of(position, q, k, layout)
        expected = (k.double() @ position.content_bias.double().mT)[..., 0] / 2
        torch.testing.assert_close(by_content[0, 0, 4], expected[0, 0], rtol=0, atol=CLOSE)
        position.weight.copy_(make(1).weight)
        position.content_bias.zero_()
        by_distance = grid_of(position, torch.zeros_like(q), k, layout)[0, 0]
    assert by_distance.diagonal(-2).std() < CLOSE  # v alone: one number per distance
    assert by_distance[8].std() > APART


def test_an_odd_width_is_refused() -> None:
    with pytest.raises(PositionError, match="width 9 ") as caught:
        TransformerXL(ModelShape(3, 3))
    assert caught.value.code == "positions.transformer-xl-width"


def test_first_values() -> None:
    position = TransformerXL(ModelShape(6, 64))
    for parameter in position.parameters():
        assert float(parameter.detach().std()) == pytest.approx(0.02, rel=0.15)
