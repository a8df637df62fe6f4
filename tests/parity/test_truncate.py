"""YaRN's ramp between ends that are rounded or not: what transformers reads of it, and ours.

`truncate: false` leaves the ends of the ramp unrounded. transformers reads it of a model's rope
settings, and where these are nested, one set for each kind of layer, looks for it beside the
sets and not in its own: so it is ignored there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stock_models import STOCK, save_stock
from torch import Tensor

from wordorder.errors import BadInput
from wordorder.interop.holders import stock_class
from wordorder.interop.huggingface.import_folder import import_folder
from wordorder.model import ModelConfig
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


def test_each_layer_has_the_ends_of_its_own_spec() -> None:
    shape, yarn = ModelShape(2, 64, layers=2), "rotary:scaling=yarn,factor=8,original_length=4096"
    yarn += ",beta_fast=32"
    first, second = (own.parts[0] for own in build(f"{yarn},truncate=false/{yarn}", shape).sums)
    assert apart(first.frequencies(), flat(truncate=False)) < ROUNDED
    assert apart(second.frequencies(), flat()) < ROUNDED


def test_it_is_an_option_of_yarn_alone() -> None:
    with pytest.raises(PositionError) as caught:
        build("rotary:scaling=linear,factor=8,truncate=false", ModelShape(2, 64))
    assert caught.value.code == "positions.rotary-unused-option"


def test_gemma_3_holds_none_where_it_would_ignore_it(tmp_path: Path) -> None:
    gemma = {"norm_placement": "both", "feed_forward": "geglu_tanh", "windows": (5, 0)}
    position = "rotary:base=100/rotary:scaling=yarn,factor=8"
    assert stock_class(ModelConfig(position=position, **gemma)).family == "gemma3"
    with pytest.raises(BadInput) as caught:
        stock_class(ModelConfig(position=f"{position},truncate=false", **gemma))
    assert caught.value.code == "interop.no-class-for-position"
    fields = STOCK["Gemma3ForCausalLM"]["linear"]
    rope = fields["rope_parameters"]
    full = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "truncate": False}
    nested_fields = {**fields, "rope_parameters": {**rope, "full_attention": full}}
    save_stock(tmp_path / "stock", "Gemma3ForCausalLM", nested_fields)
    with pytest.raises(BadInput) as caught:
        import_folder(tmp_path / "stock", tmp_path / "run")
    assert caught.value.code == "interop.nested-truncate"
    assert not (tmp_path / "run").exists()
