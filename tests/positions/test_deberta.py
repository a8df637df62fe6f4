"""DeBERTa's disentangled attention against its paper's formula, transformers, and traps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from wordorder.positions import Deberta, ModelShape, PositionError, TokenLayout, index_grid
from wordorder.positions.conformance import check

# Everything here is float64, with sums in another order.
CLOSE = 1e-12
# The reference computes in float32.
THEIRS = 1e-6
APART = 1e-2

HEAD_DIM = 4


def inputs(lab, heads: int, time: int = 8) -> list[Tensor]:
    return [lab.numbers(heads, time, HEAD_DIM, seed=seed) for seed in range(3)]


def papers(formula, lab, position: Deberta, q, k, v, places: list[int]) -> Tensor:
    paper, table = formula("deberta").score, position.table.tolist()
    of_key, of_query = position.key_weight.tolist(), position.query_weight.tolist()

    def score(h: int, i: int, j: int) -> float:
        query, key = q[h][i].tolist(), k[h][j].tolist()
        return paper(query, key, table, of_key[h], of_query[h], places[i], places[j])

    return lab.softmax_rows(score, v.tolist(), position.shape.causal)


@pytest.mark.parametrize("span", [1, 3, 128])
@pytest.mark.parametrize("heads", [1, 6, 12])
@pytest.mark.parametrize("causal", [True, False])
def test_attention_is_the_papers(formula, lab, span: int, heads: int, causal: bool) -> None:
    position = lab.filled(Deberta(ModelShape(heads, HEAD_DIM, causal=causal), span=span))
    q, k, v = inputs(lab, heads)
    expected = papers(formula, lab, position, q, k, v, list(range(8)))
    for plainly in (True, False):
        for start in (0, 1000, 100_000):
            for given in (None, torch.arange(start, start + 8)):
                found = lab.attended(
                    position, q, k, v, start=start, positions=given, plainly=plainly
                )
                torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("causal", [True, False])
def test_gaps_and_any_order_are_the_papers(formula, lab, causal: bool) -> None:
    position = lab.filled(Deberta(ModelShape(2, HEAD_DIM, causal=causal), span=5))
    q, k, v = inputs(lab, 2)
    for places in ([0, 1, 2, 5, 6, 10, 1000, 70_000], [3, 0, 7, 1, 2, 6, 4, 5]):
        expected = papers(formula, lab, position, q, k, v, places)
        found = lab.attended(position, q, k, v, positions=torch.tensor(places))
        torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("spec", ["deberta:span=3"])
@pytest.mark.parametrize("causal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_it_conforms(spec: str, causal: bool) -> None:
    report = check(spec, causal=causal)
    assert report.holds, str(report)


class Peer:
    """The attention of transformers' DeBERTa-v2, with the weights of one of ours.

    Its key's term reads its table at i - j, where the paper says j - i, as the authors' code
    does: the same function of a table that is mirrored. `mirrored` gives it one; the first
    row, of the distance that has no mirror image, is then never read within the span.
    """

    def __init__(self, position: Deberta, terms: list[str], mirrored: bool = False) -> None:
        there = pytest.importorskip("transformers.models.deberta_v2.modeling_deberta_v2")
        shape = position.shape
        config = there.DebertaV2Config(
            hidden_size=shape.width,
            num_attention_heads=shape.heads,
            relative_attention=True,
            max_relative_positions=position.span,
            position_buckets=-1,
            share_att_key=False,
            pos_att_type=terms,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        self.module = there.DisentangledSelfAttention(config).eval()
        for name in ("key", "query"):
            projection = getattr(self.module, f"pos_{name}_proj", None)
            if projection is not None:
                projection.weight.data.copy_(getattr(position, f"{name}_weight").flatten(0, 1))
                projection.bias.data.zero_()
        self.table = position.table.detach()
        if mirrored:
            self.table = self.table.flip(0).roll(1, 0)

    def bias(self, q: Tensor, k: Tensor) -> Tensor:
        with torch.no_grad():
            queries, keys = q.flatten(0, 1), k.flatten(0, 1)
            found = self.module.disentangled_attention_bias(queries, keys, None, self.table, 3)
        return found.view(*q.shape[:3], k.shape[2])


def grid_of(position: Deberta, q: Tensor, k: Tensor, consecutive: bool) -> Tensor:
    """Return what is added to the score of every pair, (batch, heads, query, key)."""
    layout = TokenLayout.of(
        torch.arange(q.shape[2])[None], causal=position.shape.causal, consecutive=consecutive
    )
    score = position.score(q, k, position.prepare(layout), None)
    zeros = q.new_zeros(*q.shape[:3], k.shape[2])
    return score(zeros, *index_grid(zeros, layout.query_indices)).detach()


def bidirectional(lab, span: int) -> Deberta:
    return lab.filled(Deberta(ModelShape(3, HEAD_DIM, causal=False), span=span))


@pytest.mark.parametrize("span", [9, 16])
def test_terms_are_those_of_transformers(lab, span: int) -> None:
    """Each term by itself, within the span."""
    position = bidirectional(lab, span)
    q, k = (lab.numbers(2, 3, 9, HEAD_DIM, seed=seed).float() for seed in range(2))
    of_query = Peer(position, ["c2p"]).bias(q, k)
    of_key = Peer(position, ["p2c"], mirrored=True).bias(q, k)
    for consecutive in (True, False):
        found = grid_of(position, q, k, consecutive)
        torch.testing.assert_close(found, of_query + of_key, rtol=0, atol=THEIRS)


def test_attention_is_that_of_transformers(lab) -> None:
    """With a table that is its own mirror image, its whole forward pass is ours."""
    position = bidirectional(lab, 16)
    with torch.no_grad():
        table = position.table
        table[17:] = table[1:16].flip(0)
    peer = Peer(position, ["c2p", "p2c"])
    x = lab.numbers(2, 9, 12).float()
    names = ("query_proj", "key_proj", "value_proj")
    with torch.no_grad():
        visible = torch.ones(1, 1, 9, 9)
        expected, _ = peer.module(x, visible, rel_embeddings=position.table)
        for i in range(2):
            q, k, v = (
                getattr(peer.module, name)(x[i]).unflatten(-1, (3, -1)).transpose(0, 1)
                for name in names
            )
            found = lab.attended(position, q, k, v).transpose(0, 1).flatten(-2)
            torch.testing.assert_close(found, expected[i], rtol=0, atol=THEIRS)


# -- traps ------------------------------------------------------------------------------------


def test_the_scale_is_of_three_terms(lab) -> None:
    """Without vectors what is left is attention at 1/sqrt(3 head_dim)."""
    position = Deberta(ModelShape(2, HEAD_DIM))
    assert position.softmax_scale == pytest.approx(1 / math.sqrt(3 * HEAD_DIM))
    q, k, v = inputs(lab, 2)
    with torch.no_grad():
        position.table.zero_()
        hidden = torch.ones(8, 8, dtype=torch.bool).triu(1)
        scores = (q @ k.mT / math.sqrt(3 * HEAD_DIM)).masked_fill(hidden, float("-inf"))
        for plainly in (True, False):
            found = lab.attended(position, q, k, v, plainly=plainly)
            torch.testing.assert_close(found, scores.softmax(-1) @ v, rtol=0, atol=CLOSE)


def test_the_key_reads_the_transposed_distance(formula, lab) -> None:
    """Row j - i + span of the table, from the key; the authors' code reads row i - j + span."""
    position = bidirectional(lab, 4)
    q, k = (lab.numbers(1, 3, 6, HEAD_DIM, seed=seed) for seed in range(2))
    with torch.no_grad():
        position.key_weight.zero_()  # nothing is left but the key's term
        vectors = position.table.double() @ position.query_weight.double().mT
        expected = k[0] @ vectors.mT / math.sqrt(3 * HEAD_DIM)  # (heads, key, row)
    for consecutive in (True, False):
        found = grid_of(position, q, k, consecutive)[0]
        for i, j in ((5, 2), (2, 5), (3, 3), (5, 0), (0, 5)):
            row = formula("deberta").delta(j, i, 4)
            torch.testing.assert_close(found[:, i, j], expected[:, j, row], rtol=0, atol=CLOSE)
            if i != j:
                other = expected[:, j, formula("deberta").delta(i, j, 4)]
                assert (found[:, i, j] - other).abs().max() > APART


def test_peers_without_a_mirror_differ(lab) -> None:
    position = bidirectional(lab, 9)
    q, k = (lab.numbers(1, 3, 9, HEAD_DIM, seed=seed).float() for seed in range(2))
    theirs = Peer(position, ["p2c"]).bias(q, k) + Peer(position, ["c2p"]).bias(q, k)
    assert (grid_of(position, q, k, True) - theirs).abs().max() > APART


def test_both_terms_are_clipped_from_the_span_on(lab) -> None:
    """2 span rows: from -span to span - 1, so both terms are alike only from span on."""
    position = lab.filled(Deberta(ModelShape(1, HEAD_DIM), span=3))
    q, k = (lab.numbers(1, 1, 1, HEAD_DIM, seed=s).expand(-1, -1, 9, -1) for s in range(2))
    for consecutive in (True, False):
        added = grid_of(position, q, k, consecutive)[0, 0, 8].flip(0)  # distances 0 to 8
        torch.testing.assert_close(added[3:], added[3].expand(6), rtol=0, atol=CLOSE)
        assert ((added[:3] - added[3]).abs() > 1e-4).all()


def test_a_negative_span_is_refused() -> None:
    with pytest.raises(PositionError) as caught:
        Deberta(ModelShape(2, HEAD_DIM), span=-1)
    assert caught.value.code == "positions.deberta-span"
    assert "span=-1" in str(caught.value)


def test_first_values_have_slopes(lab) -> None:
    """All are products of small numbers; none starts dead."""
    position = Deberta(ModelShape(2, HEAD_DIM), span=4)
    q, k, v = inputs(lab, 2)
    found = lab.attended(position, q, k, v).square().sum()
    for parameter in position.parameters():
        assert float(torch.autograd.grad(found, parameter, retain_graph=True)[0].abs().max()) > 0
    for parameter in Deberta(ModelShape(6, 64)).parameters():
        assert float(parameter.detach().std()) == pytest.approx(0.02, rel=0.05)
