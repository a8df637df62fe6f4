"""PoPE against its paper's formula, x-transformers, and its traps."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import Tensor

from wordorder.positions import ModelShape, Pope, PositionError, Rotary, TokenLayout
from wordorder.positions.conformance import check

# Cosines and sines are float32.
CLOSE = 2e-6
# The reference computes frequencies and angles in float32.
THEIRS = 1e-5


def inputs(lab, heads: int, time: int = 6) -> list[Tensor]:
    return [2 * lab.numbers(heads, time, 4, seed=seed) for seed in range(3)]


def made(lab, heads: int, causal: bool = True, **options: float) -> Pope:
    """Return one whose offsets are within their bounds, above them and below."""
    pope = Pope(ModelShape(heads, 4, causal=causal), **options)
    with torch.no_grad():
        pope.offsets.copy_(3.5 * lab.numbers(heads, 4, seed=8) - math.pi)
    return pope


@pytest.mark.parametrize("base", [10000.0, 100.0])
@pytest.mark.parametrize("heads", [1, 6, 12])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("plainly", [True, False])
def test_attention_is_the_papers(
    formula, lab, base: float, heads: int, causal: bool, plainly: bool
) -> None:
    pope = made(lab, heads, causal, base=base)
    assert heads == 1 or ((pope.offsets > 0).any() and (pope.offsets < -2 * math.pi).any())
    paper, offsets, places = formula("pope"), pope.offsets.tolist(), [0, 1, 2, 4, 5, 9]
    q, k, v = inputs(lab, heads)

    def score(h: int, i: int, j: int) -> float:
        where = places[i], places[j]
        return paper.score(q[h][i].tolist(), k[h][j].tolist(), *where, offsets[h], base)

    expected = lab.softmax_rows(score, v.tolist(), causal)
    for start in (0, 1000, 100_000):
        given = torch.tensor(places) + start
        found = lab.attended(pope, q, k, v, positions=given, plainly=plainly)
        torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


def test_it_is_x_transformers(lab) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        there = pytest.importorskip("x_transformers.x_transformers")
    pope = made(lab, 6)
    theirs = there.PolarEmbedding(4, 6)
    with torch.no_grad():
        theirs.learned_bias.copy_(pope.offsets[:, None])
    q, k, v = (each.float() for each in inputs(lab, 6))
    frequencies, offsets = theirs(torch.arange(6))
    turned = there.apply_polar_pos_emb(q[None], frequencies[:, None])
    keys = there.apply_polar_pos_emb(k[None], frequencies[:, None] + offsets)
    scores = (turned @ keys.mT)[0] * 4**-0.5
    expected = scores.masked_fill(torch.ones(6, 6).triu(1) > 0, -math.inf).softmax(-1) @ v
    found = lab.attended(pope, q, k, v, plainly=True)
    torch.testing.assert_close(found, expected, rtol=0, atol=THEIRS)


@pytest.mark.parametrize(
    "spec", ["pope:spread=6", pytest.param("pope:base=100", marks=pytest.mark.slow), "pope+alibi"]
)
@pytest.mark.parametrize("causal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_it_conforms(spec: str, causal: bool) -> None:
    report = check(spec, causal=causal)
    assert report.holds, str(report)


# -- traps ------------------------------------------------------------------------------------


def test_the_scale_is_not_that_of_the_doubled_width(lab) -> None:
    pope = Pope(ModelShape(2, 4))
    q = lab.numbers(1, 2, 3, 4)
    turned = pope.transform_queries(q, pope.prepare(TokenLayout.of(torch.arange(3)[None])), None)
    assert turned.shape == (1, 2, 3, 8)
    assert pope.softmax_scale == 0.5


def test_there_are_twice_rotarys_frequencies() -> None:
    """Every second one is rotary's: base^(-c/d) for all d, not base^(-2i/d) for d/2."""
    shape = ModelShape(2, 16)
    pope, rotary = Pope(shape), Rotary(shape)
    assert len(pope.frequencies()) == 16
    torch.testing.assert_close(pope.frequencies()[::2], rotary.frequencies(), rtol=1e-14, atol=0)


def test_content_never_turns(lab) -> None:
    """Where query and key match best depends on their positions alone, not on what they hold."""
    pope = Pope(ModelShape(1, 1))
    places = torch.arange(-3, 4)[None]
    tables = pope.prepare(TokenLayout.of(places))
    for content in (-2.0, 0.5, 3.0):
        q = torch.full((1, 1, 7, 1), content)
        turned = pope.transform_queries(q, tables, None) @ pope.transform_keys(q, tables, None).mT
        assert turned[0, 0, 3].argmax() == 3


def test_far_positions_are_as_exact_as_near_ones(lab) -> None:
    pope = Pope(ModelShape(1, 64))
    q, k = lab.numbers(2, 1, 1, 2, 64).unbind()
    found = []
    for start in (0, 1_000_000):
        tables = pope.prepare(TokenLayout.of(torch.tensor([[0, 5]]) + start))
        found.append(
            pope.transform_queries(q, tables, None) @ pope.transform_keys(k, tables, None).mT
        )
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=CLOSE)


def test_offsets_start_at_zero_with_a_slope() -> None:
    """0 is the border of where they are held, and the slope passes there."""
    pope = Pope(ModelShape(2, 4))
    assert not pope.offsets.any()
    tables = pope.prepare(TokenLayout.of(torch.arange(5)[None]))
    q = torch.ones(1, 2, 5, 4)
    turned = pope.transform_queries(q, tables, None) @ pope.transform_keys(q, tables, None).mT
    turned.tril().sum().backward()
    assert pope.offsets.grad.all()


def test_offsets_start_within_the_spread() -> None:
    pope = Pope(ModelShape(50, 50), spread=6.0)
    pope.reset_parameters(torch.Generator().manual_seed(0))
    offsets = pope.offsets.detach()
    assert -6 <= offsets.min() < -5.9 and -0.1 < offsets.max() <= 0


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(PositionError) as caught:
        Pope(ModelShape(2, 4), base=-1.0)
    assert caught.value.code == "positions.pope-base"
    assert "base=-1.0" in str(caught.value)
    with pytest.raises(PositionError) as caught:
        Pope(ModelShape(2, 4), spread=7.0)
    assert caught.value.code == "positions.pope-spread"
    assert "spread=7.0" in str(caught.value)
