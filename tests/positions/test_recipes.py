"""Recipes are the embeddings of the models that they name, layer by layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from wordorder.cli.main import main
from wordorder.interop.huggingface.families import IMPORTED
from wordorder.interop.huggingface.fields import Fields
from wordorder.model import ModelConfig
from wordorder.positions import ModelShape, Part, PositionError, Spec, build, canonical, parse
from wordorder.positions.recipes import RECIPES, expanded

LAYERS = 12
SIZE = {"num_hidden_layers": LAYERS, "hidden_size": 256, "num_attention_heads": 2}
HEAD = {**SIZE, "head_dim": 128, "num_key_value_heads": 2}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
YARN = {"rope_type": "yarn", "beta_fast": 32, "beta_slow": 1}
# The fields in which a published model differs from the defaults of its class.
PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", SIZE),
    "gpt2": ("gpt2", {"n_layer": LAYERS}),
    "bloom": ("bloom", {"n_layer": LAYERS, "n_head": 8}),
    "gpt-neox": ("gpt_neox", SIZE),
    "llama2": ("llama", {**HEAD, "max_position_embeddings": 4096}),
    "llama3": (
        "llama",
        {**HEAD, "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0}},
    ),
    "llama3.1": ("llama", {**HEAD, "rope_parameters": {**LLAMA3, "factor": 8.0}}),
    "llama3.2": ("llama", {**HEAD, "rope_parameters": {**LLAMA3, "factor": 32.0}}),
    "mistral": ("mistral", HEAD),
    "qwen3": ("qwen3", {**HEAD, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "qwen3-yarn": (
        "qwen3",
        {
            **HEAD,
            "rope_parameters": {
                **YARN,
                "rope_theta": 1e6,
                "factor": 4.0,
                "original_max_position_embeddings": 32_768,
            },
        },
    ),
    "gemma2": ("gemma2", HEAD),
    "gemma3": ("gemma3_text", {**HEAD, "sliding_window": 1024}),
    "modernbert": ("modernbert", SIZE),
    "smollm3": (
        "smollm3",
        {**SIZE, "rope_parameters": {"rope_type": "default", "rope_theta": 5e6}},
    ),
    "gpt-oss": ("gpt_oss", HEAD),
}


def layer_by_layer(values: tuple[Any, ...]) -> list[Any]:
    return [values[i % len(values)] for i in range(LAYERS)] if values else [0] * LAYERS


def angles_of(part: Part) -> tuple[torch.Tensor, float | None]:
    """The frequencies of rotary and its scale of scores."""
    built = build(Spec(((part,),)), ModelShape(2, 128, trained_length=4096)).instances[0]
    return built.frequencies(), built.softmax_scale


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_is_the_configuration_of_transformers(name: str) -> None:
    model_type, published = PUBLISHED[name]
    config = transformers.CONFIG_MAPPING[model_type](**published)
    options = IMPORTED[model_type](Fields(config.to_dict(), name)).options
    theirs = layer_by_layer(parse(options["position"]).layers)
    ours = layer_by_layer(parse(f"recipe:{name}").layers)
    for (part,), (other,) in zip(ours, theirs, strict=True):
        assert part.name == other.name
        if part.name != "rotary":
            # Learned tables are as long as the model's own context, which configurations have.
            assert part == other or part.name == "learned"
            continue
        torch.testing.assert_close(angles_of(part), angles_of(other), rtol=1e-12, atol=0)
    windows = layer_by_layer(RECIPES[name].windows)
    assert windows == layer_by_layer(tuple(options.get("windows", ())))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_a_spec_that_a_model_takes(name: str) -> None:
    spec = RECIPES[name].spec
    assert str(parse(f"recipe:{name}")) == spec == canonical(f" Recipe:{name.upper()} ")
    assert ModelConfig(position=f"recipe:{name}").position == spec


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ("recipe:lama3", "positions.unknown-recipe"),
        ("recipe:", "positions.unknown-recipe"),
        ("recipe:llama3/none", "positions.recipe-in-spec"),
        ("none/recipe:llama3", "positions.recipe-in-spec"),
        ("/recipe:llama3", "positions.recipe-in-spec"),
        ("+ recipe:llama3", "positions.recipe-in-spec"),
    ],
)
def test_what_is_no_recipe_is_refused(spec: str, code: str) -> None:
    for read in (parse, canonical):
        with pytest.raises(PositionError) as caught:
            read(spec)
        assert caught.value.code == code


def test_a_recipe_says_what_it_stands_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["positions", "recipe:gpt-oss"]) == 0
    shown = capsys.readouterr().out
    assert RECIPES["gpt-oss"].spec in shown and "--windows 128 0" in shown


def test_a_class_may_be_called_recipe() -> None:
    assert expanded("mine.Recipe:k=2") == "mine.Recipe:k=2"
    assert expanded("alibi+mine.Recipe") == "alibi+mine.Recipe"
    with pytest.raises(PositionError, match="combines a recipe"):
        expanded("alibi + recipe:llama3")
