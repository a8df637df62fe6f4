"""Rows of one batch, shared by several processes: each reads and computes its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_config import TEXT, small_config

from wordorder.batch import Batch, RowShare
from wordorder.model import make_model
from wordorder.model.layers import Dropout
from wordorder.training.compute import Compute
from wordorder.training.config import with_vocabulary
from wordorder.training.ranks import ALONE, Ranks
from wordorder.training.training import Training
from wordorder.training.training_data import read_training_data


def test_rows_of_a_batch_are_shared_without_overlap() -> None:
    tokens = torch.arange(24).view(6, 4)
    batch = Batch(tokens, targets=tokens + 1, positions=torch.arange(4)[None])
    shares = [RowShare(rank, 3).of(batch) for rank in range(3)]
    assert torch.equal(torch.stack([s.tokens for s in shares], 1).flatten(0, 1), tokens)
    assert all(torch.equal(s.positions, batch.positions) for s in shares)
    assert RowShare().of(batch) is batch


@pytest.mark.parametrize("position", ["rotary", "offset+learned:length=64"])
def test_a_rank_reads_its_own_rows_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, position: str
) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    config = replace(small_config(text, tmp_path / "run"), batch_size=8, clip=0.0)
    config = replace(config, model=replace(config.model, position=position, dropout=0.0))
    data = read_training_data(config)
    config = with_vocabulary(config, data.tokenizer.vocabulary_size)

    def gradients(ranks: Ranks) -> list[torch.Tensor]:
        model = make_model(config.model)
        model.initialise(1)
        run = Training(config, Compute("cpu", 1), data, model, steps=20, ranks=ranks)
        if ranks.count > 1:
            monkeypatch.setattr(run.batches, "at", None)
        run.gradient(3)
        return [parameter.grad / ranks.count for parameter in run.parameters]

    shares = zip(*(gradients(Ranks(rank, 4)) for rank in range(4)), strict=True)
    for one, share in zip(gradients(ALONE), shares, strict=True):
        torch.testing.assert_close(one, sum(share))


@pytest.mark.parametrize("width", [8, 7])
@pytest.mark.parametrize("compiling", [False, True])
def test_dropout_of_a_row_does_not_depend_on_the_ranks(
    monkeypatch: pytest.MonkeyPatch, compiling: bool, width: int
) -> None:
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
    x = torch.randn(6, 5, width)

    def dropped(rank: int, count: int) -> torch.Tensor:
        dropout = Dropout(0.3)
        dropout.rows = RowShare(rank, count)
        torch.manual_seed(5)
        return dropout(x[rank::count])

    whole = dropped(0, 1)
    for count in (2, 3):
        for rank in range(count):
            torch.testing.assert_close(dropped(rank, count), whole[rank::count])
