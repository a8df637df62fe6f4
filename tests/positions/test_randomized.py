"""Randomized positions: what is drawn, for whom, and what is left alone."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch

from wordorder.positions import ModelShape, PositionError, Randomized, build
from wordorder.positions.conformance import check

SHAPE = ModelShape(6, 4, layers=2, trained_length=16)
PLAIN = torch.arange(16)[None]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("limit", [0, 16, 17, 100, 5000])
def test_sorted_distinct_positions_below_the_limit(limit: int) -> None:
    randomized = Randomized(SHAPE, limit=limit)
    for seed in range(20):
        fed = randomized.place(PLAIN, generator(seed))
        assert fed.shape == PLAIN.shape and fed.dtype == torch.int64
        assert (fed.diff(dim=1) > 0).all()
        assert fed.min() >= 0 and fed.max() < (limit or 64)
    assert limit != 16 or torch.equal(fed, PLAIN)


def test_every_choice_of_positions_is_as_likely() -> None:
    randomized, drawn = Randomized(ModelShape(6, 4, trained_length=2), limit=5), Counter()
    times = 4000
    for seed in range(times):
        drawn[tuple(randomized.place(torch.arange(2)[None], generator(seed))[0].tolist())] += 1
    assert set(drawn) == set(itertools.combinations(range(5), 2))
    # Ten pairs, 400 times each; five standard deviations.
    assert all(abs(count - 400) < 5 * (times * 0.1 * 0.9) ** 0.5 for count in drawn.values())


@pytest.mark.parametrize("rows", [PLAIN.expand(3, 16), PLAIN.repeat(3, 1)])
def test_one_draw_per_batch(rows: torch.Tensor) -> None:
    """Rows share it, however they are held; and what is one in memory stays one."""
    randomized = Randomized(SHAPE, limit=200)
    fed = randomized.place(rows, generator(1))
    assert torch.equal(fed, randomized.place(PLAIN, generator(1)).expand(3, 16))
    assert (fed.stride(0) == 0) == (rows.stride(0) == 0)
    assert not torch.equal(fed, randomized.place(rows, generator(2)))


def test_packed_documents_are_fed_what_they_would_be_alone() -> None:
    """Positions that restart take the draw from its start again, in every row."""
    randomized = Randomized(SHAPE, limit=200)
    packed = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 0], [0, 1, 2, 0, 1, 2, 3, 4]])
    fed = randomized.place(packed, generator(1))
    alone = randomized.place(torch.arange(5)[None], generator(1))[0]
    assert torch.equal(fed, alone[packed])
    assert torch.equal(fed.diff(dim=1) > 0, packed.diff(dim=1) > 0)


def test_evaluation_uses_plain_positions() -> None:
    """It acts at no door: what a model reads, it reads as without it."""
    made = build("randomized:limit=64+rotary", SHAPE)
    assert [type(part).__name__ for part in made.sums[0].parts] == ["Randomized", "Rotary"]
    report = check("randomized:limit=64+rotary")
    assert report.holds, str(report)
    assert not list(made.parameters()) and made.longest is None


def test_queries_and_keys_of_all_layers_are_fed_the_same() -> None:
    """However many layers name it, positions are drawn once."""
    once = build("randomized:limit=64+rotary", SHAPE)
    twice = build("randomized:limit=64+rotary/randomized:limit=64", SHAPE)
    fed = [made.place(PLAIN, generator(3)) for made in (once, twice)]
    assert torch.equal(*fed)


def test_beside_a_learned_table() -> None:
    made = build("randomized:limit=40+learned:length=40", SHAPE)
    assert made.longest == 39
    assert all(int(made.place(PLAIN, generator(s)).max()) <= 39 for s in range(50))


def test_refused() -> None:
    with pytest.raises(PositionError) as caught:
        Randomized(SHAPE, limit=15)
    assert str(caught.value) == (
        "randomized: limit=15 is below the trained length, and no positions are drawn twice: "
        "use at least 16"
    )
    with pytest.raises(PositionError) as caught:
        Randomized(SHAPE, limit=20).place(torch.arange(21)[None], generator(0))
    assert str(caught.value) == (
        "randomized: 21 positions, but limit=20 are to be drawn: raise the limit"
    )


@pytest.mark.parametrize("spec", ["randomized", "randomized:limit=48+learned", "randomized+fire"])
@pytest.mark.parametrize("causal", [True, False])
def test_the_kit_holds(spec: str, causal: bool) -> None:
    report = check(spec, causal=causal)
    assert report.holds, str(report)
