"""Coupled positions: what training adds to them, and who wants them."""

from __future__ import annotations

import pytest
import torch

from wordorder.positions import Coupled, ModelShape, PositionError, build
from wordorder.positions.conformance import check

SHAPE = ModelShape(4, 8, layers=2, trained_length=20)
SUM = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 4]])  # 3 digits each, and a carry


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_one_offset_for_all_tokens_of_a_sequence() -> None:
    coupled = Coupled(SHAPE, most=7)
    offsets = set()
    for seed in range(40):
        fed = coupled.sample_positions(SUM, 3, generator(seed))
        added = fed - SUM
        assert fed.shape == (3, 13) and fed.dtype == torch.int64
        assert (added == added[:, :1]).all()  # positions that were equal stay equal
        offsets |= set(added[:, 0].tolist())
    assert offsets == set(range(8))


def test_each_row_has_its_own_positions_and_offset() -> None:
    rows = torch.stack((SUM[0], torch.arange(13)))
    fed = Coupled(SHAPE, most=1000).sample_positions(rows, 2, generator(1))
    first, second = (fed - rows)[:, 0].tolist()
    assert first != second and torch.equal(
        fed - rows, torch.tensor([[first], [second]]).expand(2, 13)
    )


def test_the_offset_follows_from_the_trained_length_and_fits_a_table_of_it() -> None:
    for length in range(2, 60):
        coupled = Coupled(ModelShape(4, 8, trained_length=length))
        assert coupled.resolved_options() == {"most": max(1, (length - 1) // 2)}
        assert coupled.max_training_position <= max(length - 1, 2)
    build("coupled+learned", SHAPE)
    with pytest.raises(PositionError) as caught:
        build("coupled:most=30+learned", SHAPE)
    assert caught.value.code == "positions.table-too-short" and "length=41" in str(caught.value)


def test_it_wants_positions_of_the_task() -> None:
    wanting = [p.task_positions for p in build("coupled+rotary", SHAPE).embeddings]
    assert wanting == [True, False]


def test_it_conforms_beside_others() -> None:
    for spec in ("coupled", "coupled:most=5+learned:length=48", "coupled+rotary"):
        report = check(spec)
        assert report.holds, str(report)


def test_a_negative_offset_is_refused() -> None:
    with pytest.raises(PositionError) as caught:
        Coupled(SHAPE, most=-1)
    assert caught.value.code == "positions.coupled-most"
