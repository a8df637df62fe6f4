"""What a run leaves alone: the caller's random numbers, and weights that are not finite."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_config import TEXT, small_config

import wordorder as wo
from wordorder.errors import BadInput, Failed
from wordorder.model import make_model
from wordorder.positions import PositionError
from wordorder.training.preconditions import notes_on_layers
from wordorder.training.preparation import _validation_steps, steps_in
from wordorder.training.training_data import read_training_data

from .conftest import Clock


@pytest.fixture
def config(tmp_path: Path) -> wo.TrainConfig:
    text = tmp_path / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    return small_config(text, tmp_path / "r")


def test_training_leaves_the_callers_random_numbers_as_they_were(config: wo.TrainConfig) -> None:
    def numbers() -> tuple[Any, ...]:
        return random.random(), np.random.rand(), float(torch.rand(()))

    def seeded() -> None:
        random.seed(3)
        np.random.seed(3)
        torch.manual_seed(3)

    seeded()
    expected = numbers()
    seeded()
    run = wo.train(config)
    assert numbers() == expected
    seeded()
    wo.resume(run.folder)
    assert numbers() == expected


def test_a_seed_of_any_size_is_usable(config: wo.TrainConfig) -> None:
    for seed in (1_700_000_000_000, (1 << 63) - 1):
        run = wo.train(replace(config, seed=seed, steps=1, overwrite=True))
        assert run.config["training"]["seed"] == seed
        assert run.generate("a", seed=seed, max_tokens=2)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_weights_that_are_not_finite_are_never_saved(tiny: Callable[..., Any]) -> None:
    run = tiny("r")
    training = run.go(Clock(lambda now: 1.0), steps=2)
    before = contents(run.folder)
    with torch.no_grad():
        training.model.embedding.weight[3, 1] = float("nan")
    with pytest.raises(Failed, match=r"embedding\.weight is not finite after step 2") as caught:
        training.save(run.folder)
    assert caught.value.code == "training.weights-not-finite"
    assert contents(run.folder) == before


def test_a_run_does_not_begin_from_weights_that_are_not_finite(config: wo.TrainConfig) -> None:
    first = wo.train(config)
    weights = load_file(first.folder / "model.safetensors")
    weights["final_norm.weight"][0] = float("inf")
    save_file(weights, first.folder / "model.safetensors")
    out = first.folder.parent / "next"
    wo.train(replace(config, out=str(out)))
    before = contents(out)
    again = replace(config, init=str(first.folder), out=str(out), overwrite=True)
    with pytest.raises(BadInput, match=r"final_norm\.weight is not finite"):
        wo.train(again)
    assert contents(out) == before


def test_weights_with_an_infinite_loss_do_not_blame_the_learning_rate(
    config: wo.TrainConfig,
) -> None:
    first = wo.train(config)
    weights = load_file(first.folder / "model.safetensors")
    weights["final_norm.weight"].fill_(3e38)
    save_file(weights, first.folder / "model.safetensors")
    again = replace(config, init=str(first.folder), out=str(first.folder.parent / "next"))
    with pytest.raises(Failed, match="not finite with the initial weights") as caught:
        wo.train(again)
    assert caught.value.code == "training.initial-loss-not-finite"


@pytest.mark.parametrize("average", ["none", "ema"])
def test_expected_validations_follow_the_options(config: wo.TrainConfig, average: str) -> None:
    config = replace(config, average=average)
    data = read_training_data(config)

    def steps(every: int) -> float:
        during, _ = _validation_steps(replace(config, evaluate_every=every), data, 1000)
        return during

    assert steps(1) == 100 * steps(100) > 0
    if average == "ema":
        alone = replace(config, evaluate_every=1, average="none")
        assert steps(1) == 2 * _validation_steps(alone, data, 1000)[0]
    # A validation after every step takes its share of the time, and not all of it.
    each = replace(config, evaluate_every=1)
    planned = steps_in(each, data, 180.0, 0.05)
    assert planned > 50
    during, _ = _validation_steps(each, data, planned)  # the final one comes after that time
    assert (planned + during) * 0.05 == pytest.approx(180, rel=0.01)


def test_a_pattern_longer_than_the_model_has_a_note() -> None:
    model = wo.ModelConfig(layers=2, position="rotary/rotary/alibi", windows=(4, 0, 4))
    notes = notes_on_layers(model)
    assert notes[0].startswith("note: --position rotary/rotary/alibi is a pattern of 3 layers")
    assert notes[1].startswith("note: --windows 4 0 4 is a pattern of 3 layers")
    assert notes_on_layers(replace(model, layers=3)) == []


@pytest.mark.parametrize(
    ("position", "code"),
    [
        ("alibi+alibi", "twice-in-a-layer"),
        ("rotary/offset:most=4+offset:most=4", "twice-in-a-layer"),
        ("randomized+rotary/rotary", "sampled-in-some-layers"),
    ],
)
def test_embeddings_that_older_runs_may_have_are_refused_in_new_ones(
    config: wo.TrainConfig, position: str, code: str
) -> None:
    model = replace(config.model, position=position, layers=2)
    make_model(model)  # an older run is read all the same
    with pytest.raises(PositionError) as caught:
        wo.train(replace(config, model=model))
    assert caught.value.code == f"positions.{code}"
