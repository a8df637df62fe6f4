"""Each table of weights is its own inverse: what it writes of a model, it reads back to the bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from exported_runs import ROWS
from random_weights import random_model

from wordorder.interop.architecture import Architecture
from wordorder.interop.holders import stock_class
from wordorder.interop.huggingface.families import (
    bert,
    bloom,
    deepseek,
    gemma3,
    gpt2,
    gpt_neox,
    gpt_oss,
    granite_swa,
    modernbert,
    mpt,
    opt,
)
from wordorder.interop.huggingface.families import rms_decoder as rms
from wordorder.interop.rotary_layout import in_halves, in_pairs
from wordorder.interop.weights import (
    WeightMap,
    joined,
    layer_weights,
    separated,
    with_biases,
)
from wordorder.model import LanguageModel

MAPS = {
    "gpt2": gpt2.WEIGHTS,
    "gpt_neox": gpt_neox.WEIGHTS,
    "gpt_oss": gpt_oss.WEIGHTS,
    "granite_swa": granite_swa.WEIGHTS,
    "bloom": bloom.WEIGHTS,
    "mpt": mpt.WEIGHTS,
    "modernbert": modernbert.ModernBertWeights(),
    **dict.fromkeys(("deepseek_v2", "deepseek_v3"), deepseek.WEIGHTS),
    **dict.fromkeys(("qwen3", "llama", "mistral", "smollm3"), rms.WEIGHTS),
    # Adding and subtracting 1 rounds weights.
    **dict.fromkeys(("gemma2", "gemma3"), replace(gemma3.WEIGHTS, norm_offset=0.0)),
}
# A table that is computed is no weight of the model, and BERT's output layer is another.
NO_WEIGHTS = ("sinusoidal", "factored table")
ALL = [
    (kind, name)
    for kind, rows in ROWS.items()
    for name, options in rows.items()
    if kind != "BertForMaskedLM"
    and (kind != "ModernBertForMaskedLM" or "output_transform" in options)
    and name not in NO_WEIGHTS
    and "sinusoidal" not in str(options.get("position"))
]


def check_inverse(weights: WeightMap | bert.BertWeights, model: LanguageModel) -> None:
    stored = weights.write(model)
    with torch.device("meta"):
        empty = LanguageModel(model.config)
    read = dict(weights.read(stored, empty))
    state = model.state_dict()
    assert set(read) == set(state)
    for name, value in state.items():
        assert torch.equal(read[name], value), name


@pytest.mark.parametrize("kind,name", ALL)
def test_each_row_is_read_back(kind: str, name: str) -> None:
    options = {"embedding_scale": 1.0, "trained_length": 16, **ROWS[kind][name]}
    if "epsilon" in name:  # of which weights are multiplied by a root
        options["norm_epsilon"] = 1e-6
    if kind.startswith("Gemma"):
        options["embedding_scale"] = 32**0.5
    model = random_model(50, **options)
    check_inverse(MAPS[stock_class(model.config).family], model)


def test_bert_with_its_output_layer_is_read_back() -> None:
    options = {**ROWS["BertForMaskedLM"]["learned"], "output_transform": True, "output_bias": True}
    for tied in (True, False):
        sizes = {"trained_length": 16, "embedding_scale": 1.0}
        model = random_model(50, tied_embeddings=tied, **sizes, **options)
        check_inverse(bert.BertWeights(2), model)


def test_unused_rows_and_factors_are_read_back() -> None:
    gpt = {**ROWS["GPT2LMHeadModel"]["learned"], "feed_forward": "relu"}
    check_inverse(opt.WEIGHTS, random_model(50, embedding_scale=1.0, trained_length=16, **gpt))
    factors = {"query_factor": 2.0, "branch_factor": 0.5, "output_factor": 4.0}
    model = random_model(50, embedding_scale=1.0, qk_norm=False, biases=True)
    check_inverse(replace(rms.WEIGHTS, **factors), model)
    sandwich = random_model(50, embedding_scale=32**0.5, norm_placement="both")
    # Adding and subtracting 1 rounds weights.
    without_offset = replace(gemma3.WEIGHTS, norm_offset=0.0, query_factor=0.5)
    check_inverse(without_offset, sandwich)


@pytest.mark.parametrize("by_heads", [True, False])
def test_joined_projections_are_separated(by_heads: bool) -> None:
    layer = layer_weights(random_model(50, biases=True), 0)
    back = separated(joined(layer, 8, by_heads=by_heads), 8, by_heads=by_heads)
    assert set(back) == set(layer)
    assert all(torch.equal(back[name], value) for name, value in layer.items())


@pytest.mark.parametrize(
    "position", ["rotary", "rotary:fraction=0.5", "rotary:layout=half", "none/rotary"]
)
def test_half_split_order_is_undone(position: str) -> None:
    """On grouped keys, biases and norms, in layers with and without rotary."""
    model = random_model(50, position=position, biases=True, key_value_heads=2)
    for i in range(2):
        layer, rotary = layer_weights(model, i), Architecture.of(model).rotary(i)
        back = in_pairs(in_halves(layer, rotary, 8), rotary, 8)
        assert all(torch.equal(back[name], value) for name, value in layer.items())


def test_biases_that_a_class_has_are_zeros() -> None:
    complete = with_biases({"a.weight": torch.ones(3, 2)})
    assert torch.equal(complete["a.bias"], torch.zeros(3))
