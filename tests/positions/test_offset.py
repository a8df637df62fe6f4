"""Random offsets: what is drawn, for whom, and what is left alone."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from wordorder.positions import ModelShape, Offset, PositionError, build
from wordorder.positions.conformance import check

SHAPE = ModelShape(6, 4, layers=2, trained_length=16)
PLAIN = torch.arange(9)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_each_row_has_one_offset_of_its_own() -> None:
    offset = Offset(SHAPE, most=1000)
    fed = offset.sample_positions(PLAIN[None], 4, generator(1))
    moved = fed - PLAIN
    assert (moved == moved[:, :1]).all()
    assert len(moved[:, 0].unique()) == 4
    assert torch.equal(fed, offset.sample_positions(PLAIN[None], 4, generator(1)))
    assert not torch.equal(fed, offset.sample_positions(PLAIN[None], 4, generator(2)))


def test_every_offset_up_to_the_most_is_as_likely() -> None:
    offset, drawn, times = Offset(SHAPE, most=4), Counter(), 4000
    for seed in range(times // 8):
        drawn.update(offset.sample_positions(PLAIN[None], 8, generator(seed))[:, 0].tolist())
    assert set(drawn) == {0, 1, 2, 3, 4}
    # 800 times each; five standard deviations.
    assert all(abs(count - 800) < 5 * (times * 0.2 * 0.8) ** 0.5 for count in drawn.values())


def test_0_takes_the_trained_length() -> None:
    offset = Offset(SHAPE)
    firsts = torch.cat(
        [offset.sample_positions(PLAIN[None], 1, generator(s))[:, 0] for s in range(400)]
    )
    assert firsts.min() == 0 and firsts.max() == 16


def test_each_packed_document_has_its_own() -> None:
    """Positions that do not rise begin a new one; within it they keep their steps."""
    packed = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 0, 0], [0, 1, 5, 7, 8, 9, 10, 11, 40]])
    moved = Offset(SHAPE, most=10**6).sample_positions(packed, 2, generator(1)) - packed
    first = [moved[0, part].unique().tolist() for part in ([0, 1, 2, 3], [4, 5, 6], [7], [8])]
    assert all(len(part) == 1 for part in first)
    assert len({part[0] for part in first}) == 4
    assert len(moved[1].unique()) == 1


def test_evaluation_starts_at_0() -> None:
    """It acts at no door: what a model reads, it reads as without it."""
    report = check("offset:most=64+sinusoidal")
    assert report.holds, str(report)


def test_two_add_up_and_one_is_drawn_once() -> None:
    twice = build("offset:most=64+rotary/offset:most=64", SHAPE)
    once = build("offset:most=64+rotary", SHAPE)
    assert torch.equal(*(m.sample_positions(PLAIN[None], 1, generator(3)) for m in (once, twice)))
    both = build("offset:most=64+offset:most=7+rotary", SHAPE)
    firsts = [int(both.sample_positions(PLAIN[None], 1, generator(s))[0, 0]) for s in range(400)]
    assert max(firsts) > 64 and max(firsts) <= 71


def test_a_negative_offset_is_refused() -> None:
    with pytest.raises(PositionError) as caught:
        Offset(SHAPE, most=-1)
    assert caught.value.code == "positions.offset-most"
    assert "most=-1" in str(caught.value)


@pytest.mark.parametrize("spec", ["offset:most=20+learned:length=68", "offset+t5"])
@pytest.mark.parametrize("causal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_kit_holds(spec: str, causal: bool) -> None:
    report = check(spec, causal=causal)
    assert report.holds, str(report)
