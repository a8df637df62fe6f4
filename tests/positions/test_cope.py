"""CoPE against its paper's formula, x-transformers, and its traps."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor

from wordorder.positions import Cope, ModelShape, PositionError, build
from wordorder.positions.conformance import check
from wordorder.positions.cope import interpolated

# Everything here is float64, with sums in another order.
CLOSE = 1e-12
# The reference computes in float32.
THEIRS = 3e-6


def inputs(lab, heads: int, time: int = 7) -> list[Tensor]:
    return [2 * lab.numbers(heads, time, 4, seed=seed) for seed in range(3)]


def attended(cope: Cope, q: Tensor, k: Tensor, v: Tensor, score=None) -> Tensor:
    """Return what it attends to in one text, (heads, time, head_dim)."""
    time = q.shape[1]
    visible = torch.ones(time, time, dtype=torch.bool).tril()[None, None]
    return cope.attend(q[None], k[None], v[None], None, None, visible, score, torch.arange(time))[0]


@pytest.mark.parametrize("most", [1, 2, 64])
@pytest.mark.parametrize("heads", [1, 6, 12])
@pytest.mark.parametrize("plainly", [True, False])
def test_attention_is_the_papers(formula, lab, most: int, heads: int, plainly: bool) -> None:
    cope = lab.filled(Cope(ModelShape(heads, 4), most=most))
    q, k, v = inputs(lab, heads)
    table, paper = cope.embeddings.tolist(), formula("cope")

    def score(h: int, i: int, j: int) -> float:
        return paper.score(q[h][i].tolist(), k[h].tolist(), table, i, j)

    expected = lab.softmax_rows(score, v.tolist(), True)
    for start in (0, 1000, 100_000):
        found = lab.attended(cope, q, k, v, start=start, plainly=plainly)
        torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("most", [3, 64])
def test_it_is_x_transformers(lab, most: int) -> None:
    """Its table counts positions up to max_pos - 1; ours is given the largest one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        there = pytest.importorskip("x_transformers.x_transformers")
    theirs = there.CoPE(dim=4, heads=6, max_pos=most + 1)
    cope = lab.filled(Cope(ModelShape(6, 4), most=most))
    q, k, v = (each.float() for each in inputs(lab, 6, 12))
    future = torch.ones(12, 12, dtype=torch.bool).triu(1)
    scores = (q @ k.mT / 2).masked_fill(future, -torch.finfo(torch.float32).max)
    with torch.no_grad():
        theirs.pos_emb.copy_(cope.embeddings)
        expected = (scores + theirs(q[None], scores[None])[0]).softmax(-1) @ v
    torch.testing.assert_close(attended(cope, q, k, v), expected, rtol=0, atol=THEIRS)


@pytest.mark.parametrize("spec", ["cope:most=2", "alibi+cope", "forgetting+cope/rotary"])
def test_it_conforms(spec: str) -> None:
    report = check(spec)
    assert report.holds, str(report)


def test_the_score_of_others_is_added_and_not_counted(formula, lab) -> None:
    """Gates see the products alone."""
    cope = lab.filled(Cope(ModelShape(2, 4)))
    q, k, v = inputs(lab, 2)
    table, paper = cope.embeddings.tolist(), formula("cope")

    def score(h: int, i: int, j: int) -> float:
        own = paper.score(q[h][i].tolist(), k[h].tolist(), table, i, j)
        return own - 0.3 * (h + 1) * (i - j)

    found = attended(cope, q, k, v, lambda s, b, h, i, j: s - 0.3 * ((h + 1) * (i - j)).double())
    expected = lab.softmax_rows(score, v.tolist(), True)
    torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


# -- traps ------------------------------------------------------------------------------------


def test_fractional_positions_interpolate_between_integer_embeddings() -> None:
    values = torch.tensor([[10.0, 20, 40, 80]])
    counts = torch.tensor([[0.0, 0.25, 1, 1.5, 2.75, 3]])
    expected = torch.tensor([[10.0, 12.5, 20, 30, 70, 80]])
    assert torch.equal(interpolated(values, counts), expected)


def test_fractional_positions_carry_a_slope_to_the_gates() -> None:
    values = torch.tensor([[10.0, 20, 40, 80]])
    counts = torch.tensor([[0.25, 1.5, 2.75]], requires_grad=True)
    interpolated(values, counts).sum().backward()
    assert counts.grad.tolist() == [[10.0, 20, 40]]


@pytest.mark.parametrize("plainly", [True, False])
def test_the_sum_runs_from_the_query_backwards(lab, plainly: bool) -> None:
    """Keys of zeros open every gate half: key j is at (i - j + 1) / 2, whatever i is."""
    cope = Cope(ModelShape(1, 4))
    with torch.no_grad():
        cope.embeddings.copy_(torch.arange(65.0)[:, None].expand(-1, 4) ** 2)
    q = torch.full((1, 6, 4), 0.05, dtype=torch.float64)
    k, v = torch.zeros(1, 6, 4, dtype=torch.float64), torch.eye(6, dtype=torch.float64)[None]
    found = lab.attended(cope, q, k, v, plainly=plainly)[0]
    squares = {0.5: 0.5, 1.0: 1, 1.5: 2.5, 2.0: 4, 2.5: 6.5, 3.0: 9}  # on lines between integers
    for i in range(6):
        asked = [0.2 * squares[(i - j + 1) / 2] for j in range(i + 1)]
        expected = torch.tensor(asked, dtype=torch.float64).softmax(0)
        torch.testing.assert_close(found[i, : i + 1], expected, rtol=0, atol=CLOSE)


def test_positions_stop_at_the_last() -> None:
    """Farther keys all have the last position: they differ by their products alone."""
    cope = Cope(ModelShape(1, 4), most=2)
    with torch.no_grad():
        cope.embeddings[2] = 1.0
    q, k = torch.ones(1, 40, 4), torch.ones(1, 40, 4)  # gates of sigmoid(2) = 0.88
    found = attended(cope, q, k, torch.eye(40)[None])[0, -1]
    assert (found[:37] == found[0]).all()
    assert found[39] < found[38] < found[37]


def test_a_long_text_counts_as_exactly_near_the_query_as_a_short_one(lab) -> None:
    """In float32: as a difference of sums from the start, positions would be off by 1e-4."""
    cope = lab.filled(Cope(ModelShape(1, 4)))
    q, k, v = (each.float() for each in inputs(lab, 1, 3000))
    near = attended(cope, q[:, -50:], k[:, -50:], v[:, -50:])[:, -1]
    v = torch.cat((torch.zeros(1, 2950, 4), v[:, -50:]), 1)
    k = torch.cat((torch.full((1, 2950, 4), 0.0), k[:, -50:]), 1)
    with torch.no_grad():
        visible = torch.zeros(1, 1, 1, 3000, dtype=torch.bool)
        visible[..., -50:] = True
        last = torch.tensor([2999])
        found = cope.attend(q[None, :, -1:], k[None], v[None], None, None, visible, None, last)
    torch.testing.assert_close(found[0, :, 0], near, rtol=0, atol=1e-6)


def test_it_starts_without_positions() -> None:
    cope = Cope(ModelShape(2, 4))
    assert not cope.embeddings.any()
    assert len(build("cope", ModelShape(2, 4, layers=3)).instances) == 3


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(PositionError) as caught:
        Cope(ModelShape(2, 4), most=0)
    assert caught.value.code == "positions.cope-most"
    assert "most=0" in str(caught.value)
    with pytest.raises(PositionError) as caught:
        Cope(ModelShape(2, 4, causal=False))
    assert caught.value.code == "positions.cope-bidirectional"
