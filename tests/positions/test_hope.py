"""HoPE, rotary:proportional=true,fraction=0: pairs that do not turn once are not rotated."""

from __future__ import annotations

import math

import pytest
import torch

from wordorder.positions import ModelShape, PositionError, Rotary, SelfExtend
from wordorder.positions.conformance import check

HOPE = {"proportional": True, "fraction": 0.0}
CLOSE = 2e-6


def test_pairs_of_less_than_a_turn_are_not_rotated(formula, lab) -> None:
    """In scalars: with base 100 and 16 dimensions, pairs 0 to 3 turn within 64 tokens."""
    rotary = Rotary(ModelShape(2, 16, trained_length=64), base=100.0, **HOPE)
    paper = formula("rotary")
    thetas = [paper.angle(i, 16, 100.0) for i in range(8)]
    kept = [theta for theta in thetas if theta * 64 >= 2 * math.pi]
    assert len(kept) == 5 and rotary.pairs == 5
    assert rotary.frequencies().tolist() == pytest.approx([*kept, 0, 0, 0])
    pairs = paper.dimensions("interleaved", 10)
    q, k, v = (lab.numbers(2, 6, 16, seed=seed) for seed in range(3))

    def score(h: int, i: int, j: int) -> float:
        return paper.product(q[h][i].tolist(), k[h][j].tolist(), i, j, kept, pairs) / 4

    expected = lab.softmax_rows(score, v.tolist(), True)
    output = lab.attended(rotary, q, k, v)
    torch.testing.assert_close(output, expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("length", [1, 6, 7, 64, 512, 100_000])
@pytest.mark.parametrize("layout", ["interleaved", "half"])
def test_it_is_p_rope_with_the_fraction_that_turns(lab, length: int, layout: str) -> None:
    shape = ModelShape(2, 48, trained_length=length)
    hope = Rotary(shape, layout=layout, **HOPE)
    options = hope.resolved_options()
    assert 0 < options["fraction"] == hope.resolved_fraction <= 1
    written = Rotary(shape, proportional=True, layout=layout, **options)
    assert torch.equal(hope.frequencies(), written.frequencies())
    q, k, v = (lab.numbers(2, 9, 48, seed=seed) for seed in range(3))
    assert torch.equal(*(lab.attended(position, q, k, v) for position in (hope, written)))


@pytest.mark.parametrize("spec", ["rotary:proportional=true,fraction=0"])
@pytest.mark.parametrize(
    "more", ["", pytest.param(",scaling=yarn,factor=4", marks=pytest.mark.slow), ",layout=half"]
)
def test_it_conforms(spec: str, more: str) -> None:
    report = check(spec + more)
    assert report.holds, str(report)


def test_at_another_length_the_same_pairs_turn() -> None:
    """Written out, as `wordorder extend` does, the fraction stays that of the trained length."""
    short = Rotary(ModelShape(2, 16, trained_length=64), **HOPE)
    longer = ModelShape(2, 16, trained_length=4096)
    assert Rotary(longer, **HOPE).pairs > short.pairs
    written = Rotary(longer, proportional=True, **short.resolved_options())
    assert torch.equal(written.frequencies(), short.frequencies())


def test_the_original_length_counts_where_it_is_given() -> None:
    shape = ModelShape(2, 16, trained_length=4096)
    given = Rotary(shape, base=100.0, scaling="yarn", factor=4.0, original_length=64, **HOPE)
    assert given.pairs == 5


def test_without_proportional_it_is_refused() -> None:
    with pytest.raises(PositionError) as caught:
        Rotary(ModelShape(2, 16), fraction=0.0)
    assert caught.value.code == "positions.rotary-fraction"
    assert "proportional=true" in str(caught.value)


def test_self_extend_wants_the_fraction_written_out() -> None:
    with pytest.raises(PositionError) as caught:
        SelfExtend(ModelShape(2, 16), proportional=True, fraction=0.0)
    assert caught.value.code == "positions.self-extend-fraction"
