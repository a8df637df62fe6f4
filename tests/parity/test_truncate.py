"""YaRN's ramp between ends that are rounded or not: what transformers reads of it, and ours.

`truncate: false` leaves the ends of the ramp unrounded. transformers reads it of a model's rope
settings, and where these are nested, one set for each kind of layer, looks for it beside the
sets and not in its own: so it is ignored there.
"""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor

from wordorder.positions import ModelShape, PositionError, Rotary, build

transformers = pytest.importorskip("transformers")
llama = transformers.models.llama.modeling_llama
gemma3 = transformers.models.gemma3.modeling_gemma3

ROUNDED, APART = 1e-6, 0.1  # of a frequency: float32 against float64; what no rounding explains
YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e4,
    "factor": 8.0,
    "original_max_position_embeddings": 4096,
}
MODEL = {
    "hidden_size": 128,
    "num_attention_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 32768,
}


def flat(**more: Any) -> Tensor:
    """Return transformers' frequencies where all layers have one setting."""
    config = transformers.LlamaConfig(**MODEL, rope_parameters={**YARN, **more})
    return llama.LlamaRotaryEmbedding(config).inv_freq


def nested(**more: Any) -> Tensor:
    """Return those of one kind of layer, where another kind has others."""
    local = {"rope_type": "default", "rope_theta": 1e4}
    config = transformers.Gemma3TextConfig(
        **MODEL,
        layer_types=["full_attention", "sliding_attention"],
        num_hidden_layers=2,
        rope_parameters={"full_attention": {**YARN, **more}, "sliding_attention": local},
    )
    return gemma3.Gemma3RotaryEmbedding(config).full_attention_inv_freq


def apart(one: Tensor, other: Tensor) -> float:
    return float((one.double() / other.double() - 1).abs().max())


def test_transformers_ignores_truncate_in_nested_settings() -> None:
    assert apart(flat(truncate=True), flat(truncate=False)) > APART
    assert apart(nested(truncate=True), nested(truncate=False)) == 0
    assert apart(nested(truncate=False), flat(truncate=False)) > APART
    assert apart(nested(beta_fast=8.0), nested()) > APART  # what it does read there


@pytest.mark.parametrize("theirs", [flat, nested])
def test_ours_are_those_of_rounded_ends(theirs) -> None:
    ours = Rotary(ModelShape(2, 64), scaling="yarn", factor=8.0, original_length=4096)
    assert apart(ours.frequencies(), theirs(truncate=True)) < ROUNDED


def test_what_a_layer_does_not_read_is_refused_and_what_it_reads_is_its_own() -> None:
    shape, yarn = ModelShape(2, 64, layers=2), "rotary:scaling=yarn,factor=8,original_length=4096"
    with pytest.raises(PositionError, match="'truncate'") as caught:
        build(f"{yarn},truncate=false/rotary", shape)
    assert caught.value.code == "positions.unknown-option"
    first, second = (own.parts[0] for own in build(f"{yarn},beta_fast=8/{yarn}", shape).sums)
    assert apart(first.frequencies(), flat(beta_fast=8.0)) < ROUNDED
    assert apart(second.frequencies(), flat()) < ROUNDED
