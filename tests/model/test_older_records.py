"""Records of an older version mean what they meant: the losses are those that it had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from random_weights import filled

from wordorder.batch import Batch
from wordorder.errors import BadInput
from wordorder.model import LanguageModel, ModelConfig
from wordorder.positions.defaults import BEFORE, GENERATION, recorded

RECORDS = json.loads(Path(__file__).with_name("older_records.json").read_text(encoding="utf-8"))
CLOSE = 1e-6  # float64, with sines in float32
CHANGED = ("rotary", "t5", "relative", "deberta", "xpos", "axial", "pope", "dape", "sandwich")


def record(position: str, **more: Any) -> dict[str, Any]:
    """Return a model as the older version wrote it."""
    return {**RECORDS["model"], "position": position, **more}


@torch.no_grad()
def loss_of(config: ModelConfig) -> float:
    """Return the loss of a model with random weights on 60 random tokens."""
    model = filled(LanguageModel(config)).double().eval()
    model.compute_dtype = torch.float64
    tokens = torch.randint(40, (2, 61), generator=torch.Generator().manual_seed(1))
    return float(model(Batch(tokens[:, :-1], tokens[:, 1:])).double().mean())


@pytest.mark.parametrize("position", RECORDS["losses"])
def test_an_older_record_has_the_loss_it_had(position: str) -> None:
    config = ModelConfig.from_dict(record(position))
    assert loss_of(config) == pytest.approx(RECORDS["losses"][position], abs=CLOSE)
    assert ModelConfig.from_dict(config.to_dict()) == config  # written anew, it stays so


@pytest.mark.parametrize("position", CHANGED)
def test_a_new_record_has_the_new_defaults(position: str) -> None:
    """Otherwise the test above could not fail."""
    config = ModelConfig.from_dict(record(position, defaults=GENERATION))
    assert config.position == position
    assert abs(loss_of(config) - RECORDS["losses"][position]) > 100 * CLOSE


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ("rotary", "rotary:base=10000"),
        ("rotary:base=500", "rotary:base=500"),
        (
            "rotary:scaling=yarn,factor=2",
            "rotary:scaling=yarn,factor=2,base=10000,beta_fast=32",
        ),
        (
            "rotary:scaling=longrope,factor=2,long_factors=[1,2]/none",
            "rotary:scaling=longrope,factor=2,long_factors=[1,2],base=10000/none",
        ),
        ("learned + t5/none", "learned +t5:max_distance=128/none"),
        ("xpos:gamma=0.5", "xpos:gamma=0.5,base=10000,scale_base=512"),
        ("learned:length=9+alibi", "learned:length=9+alibi"),
        ("somebodys.module.Rotary:x=1+nobody.None_", "somebodys.module.Rotary:x=1+nobody.None_"),
    ],
)
def test_what_was_left_to_a_default_is_written_out(position: str, expected: str) -> None:
    """Nothing is imported on the way: there is no module of that name."""
    assert recorded(position, 1) == expected
    assert recorded(expected, 1) == expected
    assert recorded(position, GENERATION) == position


def test_every_default_that_changed_is_kept() -> None:
    assert {name for name, _, _ in BEFORE} == {*CHANGED, "self-extend"}


def test_a_record_of_a_newer_version_is_refused() -> None:
    with pytest.raises(BadInput, match=f"defaults {GENERATION + 1}") as caught:
        ModelConfig.from_dict(record("rotary", defaults=GENERATION + 1))
    assert caught.value.code == "model.newer-record"
