"""Selective rotary embedding against its paper's formula and its traps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from wordorder.positions import ModelShape, PositionError, Rotary, Selective, TokenLayout
from wordorder.positions.conformance import check
from wordorder.positions.rotary import rotate

# Everything here is float64.
CLOSE = 1e-12
# Angles of thousands of radians, which both sides sum, are float64 to 1e-12.
ROWS = 1e-11
WIDTH = 5


def inputs(lab, heads: int, time: int = 7) -> list[Tensor]:
    """Return queries, keys, values and the layer's input."""
    return [
        *(2 * lab.numbers(heads, time, 4, seed=seed) for seed in range(3)),
        lab.numbers(time, WIDTH, seed=9),
    ]


def made(lab, heads: int = 2, causal: bool = True, **options) -> Selective:
    """Return one with large angles, the same at every call."""
    position = Selective(ModelShape(heads, 4, WIDTH, causal=causal), **options)
    position.reset_parameters(torch.Generator().manual_seed(1))
    lab.filled(position)
    with torch.no_grad():
        position.up.mul_(3000)
    return position


@pytest.mark.parametrize("taps", [1, 4])
@pytest.mark.parametrize("gate", [True, False])
@pytest.mark.parametrize("heads", [1, 6, 12])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("plainly", [True, False])
def test_attention_is_the_papers(
    formula, lab, taps: int, gate: bool, heads: int, causal: bool, plainly: bool
) -> None:
    position = made(lab, heads, causal, taps=taps, gate=gate, base=100.0, rank=3)
    q, k, v, x = inputs(lab, heads)
    paper = formula("selective")
    opened = (position.gate_weight.tolist(), position.gate_bias.tolist()) if gate else None
    weights = (position.down.tolist(), position.up.tolist(), position.convolution.tolist())
    angles = paper.angles(x.tolist(), *weights, opened, heads, 4, 100.0)
    assert max(abs(a) for row in angles for head in row for a in head) > 2 * math.pi

    def score(h: int, i: int, j: int) -> float:
        return paper.score(q[h][i].tolist(), k[h][j].tolist(), angles[i][h], angles[j][h])

    expected = lab.softmax_rows(score, v.tolist(), causal)
    for start in (0, 1000, 100_000):
        found = lab.attended(position, q, k, v, x=x, start=start, plainly=plainly)
        torch.testing.assert_close(found, expected, rtol=0, atol=ROWS)


@pytest.mark.parametrize(
    "options", [":taps=1", ":gate=true", pytest.param(":base=100,rank=2", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("causal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_it_conforms(options: str, causal: bool) -> None:
    """With as many key heads as query heads; the catalogue's own has half as many."""
    report = check(f"selective{options}", heads=(3,), causal=causal)
    assert report.holds, str(report)


@pytest.mark.parametrize(
    "spec", ["selective+alibi", pytest.param("rotary/selective", marks=pytest.mark.slow)]
)
def test_it_conforms_in_company(spec: str) -> None:
    report = check(spec)
    assert report.holds, str(report)


def test_with_angles_that_are_all_one_it_is_rotary(lab) -> None:
    """One tap, and every token asks for the same angle, 1."""
    position = Selective(ModelShape(2, 8, WIDTH), base=10000.0, taps=1, rank=1)
    rotary = Rotary(ModelShape(2, 8))
    with torch.no_grad():
        position.down.copy_(torch.tensor([[1.0, 0, 0, 0, 0]]))
        position.up.fill_(1)
        position.convolution.fill_(1)
    x = torch.tensor([1.0, 0, 0, 0, 0]).expand(1, 50, -1)
    layout = TokenLayout.of(torch.arange(1, 51)[None])
    q = lab.numbers(1, 2, 50, 8)
    tables, state = position.prepare(layout), position.state(x, layout, None)
    found = position.transform_queries(q, tables, state)
    expected = rotate(q, rotary.prepare(layout)[0])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


# -- traps ------------------------------------------------------------------------------------


def test_sums_of_angles_keep_their_fractions_in_a_long_text() -> None:
    """A million tokens of angle 1, fed in pieces: within a turn, to float32's rounding of one."""
    position = Selective(ModelShape(1, 2, 1), taps=1, rank=1)
    with torch.no_grad():
        for parameter in position.parameters():
            parameter.fill_(1)
    previous, piece = None, 100_000
    for start in range(0, 1_000_000, piece):
        slots = torch.arange(start, start + piece)
        layout = TokenLayout(slots[None], torch.arange(start + piece)[None], slots)
        state = position.state(torch.ones(1, piece, 1), layout, previous)
        previous = state if previous is None else tuple(
            torch.cat(pair, 1) for pair in zip(previous, state, strict=True)
        )  # fmt: skip
    angles = previous[0][0, :, 0, 0]
    assert angles.dtype is torch.float64 and angles.abs().max() <= 3.1416
    expected = torch.arange(1.0, 1_000_001, dtype=torch.float64)
    apart = torch.remainder(angles.double() - expected + math.pi, 2 * math.pi) - math.pi
    assert apart.abs().max() < 5e-6


def test_token_by_token_no_small_angle_is_lost() -> None:
    """Each step is a quarter of what float32 can add to 1.5."""
    position = Selective(ModelShape(1, 2, 1), taps=1, rank=1)
    with torch.no_grad():
        for parameter in position.parameters():
            parameter.fill_(1)
        position.up.fill_(3e-8)
        start = torch.full((1, 1, 1, 1), 1.5, dtype=torch.float64)
        state = start, torch.ones(1, 1, 1)
        layout = TokenLayout(torch.tensor([[1]]), torch.tensor([[0, 1]]), torch.tensor([1]))
        for _ in range(500):
            state = position.state(torch.ones(1, 1, 1), layout, state)
    assert float(state[0] - start) == pytest.approx(500 * 3e-8, rel=1e-6)


def test_padding_adds_no_angle(lab) -> None:
    position = made(lab)
    x = lab.numbers(1, 6, WIDTH)
    documents = torch.tensor([[-1, -1, 0, 0, -1, 0]])
    found = position.state(x, TokenLayout.of(torch.arange(6)[None], documents), None)[0]
    alone = position.state(x[:, [2, 3, 5]], TokenLayout.of(torch.arange(3)[None]), None)[0]
    assert not found[:, :2].any()
    assert torch.equal(found[:, 4], found[:, 3])
    torch.testing.assert_close(found[:, [2, 3, 5]], alone, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("cut", [6, 1, 3, 5])
def test_every_document_starts_its_own_sum(lab, cut: int) -> None:
    """Padding between documents and within them, all at once and with a cache."""
    position, x = made(lab), lab.numbers(1, 6, WIDTH)
    documents, every = torch.tensor([[0, 0, -1, 1, -1, 1]]), torch.arange(6)
    whole = TokenLayout.of(every[None], documents)
    angles, low = position.state(x[:, :cut], whole if cut == 6 else TokenLayout.of(
        every[None, :cut], documents[:, :cut]), None)  # fmt: skip
    if cut < 6:
        rest = TokenLayout(
            every[None, cut:], every[None], every[cut:], documents[:, cut:], documents
        )
        later = position.state(x[:, cut:], rest, (angles, low))[0]
        angles = torch.cat((angles, later), 1)
    for tokens in ([0, 1], [3, 5]):
        alone = position.state(x[:, tokens], TokenLayout.of(torch.arange(2)[None]), None)[0]
        torch.testing.assert_close(angles[:, tokens], alone, rtol=0, atol=CLOSE)


def test_first_angles_are_small(lab) -> None:
    """A fresh model turns by less than a tenth of a radian a token: nearly no position."""
    position = Selective(ModelShape(6, 64))
    position.reset_parameters(torch.Generator().manual_seed(0))
    x = lab.numbers(1, 2, 384)
    angles = position.state(x, TokenLayout.of(torch.arange(2)[None]), None)[0]
    assert 0 < angles.abs().max() < 0.1


def test_each_query_head_gets_its_own_turned_key(lab) -> None:
    position = made(lab, 6)
    x, keys = lab.numbers(1, 5, WIDTH), lab.numbers(1, 3, 5, 4)
    layout = TokenLayout.of(torch.arange(5)[None])
    tables, state = position.prepare(layout), position.state(x, layout, None)
    found = position.transform_keys(keys, tables, state)
    expected = position.transform_keys(keys.repeat_interleave(2, 1), tables, state)
    assert torch.equal(found, expected)


def test_what_cannot_be_is_refused() -> None:
    for options, head_dim, code, value in (
        ({}, 5, "head-size", "head size 5 "),
        ({"base": -1.0}, 4, "base", "base=-1.0"),
        ({"rank": 0}, 4, "sizes", "rank=0 and taps=4"),
    ):
        with pytest.raises(PositionError, match=value) as caught:
            Selective(ModelShape(2, head_dim), **options)
        assert caught.value.code == f"positions.selective-{code}"
