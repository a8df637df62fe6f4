"""The permutation of rotary dimensions, and transformers' settings of every scaling."""

from __future__ import annotations

import pytest
import torch
from random_weights import random_model

from wordorder.interop.architecture import Architecture
from wordorder.interop.huggingface.rotary import rope_settings
from wordorder.interop.rotary_layout import POSITION_FREE_FACTOR, half_split, in_halves
from wordorder.interop.weights import layer_weights
from wordorder.positions import ModelShape, Rotary

HEAD = 8


def test_the_order_is_all_firsts_then_all_seconds_then_the_rest() -> None:
    rows = torch.arange(2 * HEAD)
    expected = [0, 2, 4, 1, 3, 5, 6, 7]
    assert half_split(rows, HEAD, 6).tolist() == expected + [HEAD + i for i in expected]


@pytest.mark.parametrize("turned", [0, 2, 6, HEAD])
@pytest.mark.parametrize("shape", [(32, 16), (16, 16), (32,), (HEAD,)], ids=str)
def test_the_inverse_undoes_it(shape: tuple[int, ...], turned: int) -> None:
    """On projections, on grouped keys' (half the rows), on biases and on a head's norm."""
    rows = torch.randn(shape)
    moved = half_split(rows, HEAD, turned)
    assert torch.equal(half_split(moved, HEAD, turned, inverse=True), rows)
    assert torch.equal(moved, rows) == (turned < 4)  # one pair is in both orders


@pytest.mark.parametrize(
    "position,moves", [("rotary", True), ("rotary:layout=half", False), ("none", False)]
)
def test_only_what_rotary_turns_is_moved(position: str, moves: bool) -> None:
    model = random_model(50, position=position, biases=True, key_value_heads=2)
    layer = layer_weights(model, 0)
    halves = in_halves(layer, Architecture.of(model).rotary(0), HEAD)
    moved = {name for name, value in layer.items() if not torch.equal(halves[name], value)}
    turned = {
        f"attention.{part}.{kind}" for part in ("query", "key") for kind in ("weight", "bias")
    }
    norms = {"attention.query_norm.weight", "attention.key_norm.weight"}
    assert moved == (turned | norms if moves else set())


def test_a_pattern_moves_the_rotary_layers_alone() -> None:
    model = random_model(50, position="rotary/none")
    architecture = Architecture.of(model)
    assert architecture.rotary(0) is not None and architecture.rotary(1) is None


def test_settings_are_written_for_both_versions() -> None:
    shape = ModelShape(2, 8, trained_length=64)
    plain = rope_settings(Rotary(shape, base=5000.0))
    assert plain["rope_parameters"] == {"rope_type": "default", "rope_theta": 5000.0}
    assert (plain["rope_theta"], plain["rope_scaling"]) == (5000.0, None)
    yarn = rope_settings(Rotary(shape, scaling="yarn", factor=4.0))
    assert yarn["rope_parameters"] == {**yarn["rope_scaling"], "rope_theta": 1250.0}
    assert yarn["rope_scaling"] == {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 64,
        "beta_fast": 4.0,
        "beta_slow": 1.0,
    }


def test_no_rotary_is_a_factor_that_turns_nothing() -> None:
    settings = rope_settings(None)["rope_parameters"]
    assert settings["factor"] == POSITION_FREE_FACTOR
    angles = torch.tensor([1e4]) / settings["factor"]
    assert torch.equal(angles.cos(), torch.ones(1))
