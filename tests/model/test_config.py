"""A configuration: what it refuses, what it works out, and its way through JSON."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from wordorder.errors import BadInput
from wordorder.model import PRESETS, LanguageModel, ModelConfig, RecurrentLanguageModel, make_model


@pytest.mark.parametrize(
    ("changes", "code", "value"),
    [
        ({"width": 100, "heads": 8}, "model.width-of-heads", "width 100 .* 8 heads.* 112"),
        ({"heads": 6, "key_value_heads": 4}, "model.key-value-heads", "6 heads .* 4 .* 1 or 6"),
        ({"heads": 4, "key_value_heads": 8}, "model.key-value-heads", "4 heads .* 8 .* 1 or 4"),
        ({"vocabulary_size": 0}, "settings.wrong-value", "vocabulary_size is 0"),
        ({"width": 0}, "settings.wrong-value", "width is 0"),
        ({"layers": 0}, "settings.wrong-value", "layers is 0"),
        ({"heads": 0}, "settings.wrong-value", "heads is 0"),
        ({"trained_length": -5}, "settings.wrong-value", "trained_length is -5"),
        ({"dropout": 1.0}, "settings.wrong-value", "dropout is 1.0"),
        ({"dropout": -0.1}, "settings.wrong-value", "dropout is -0.1"),
        ({"windows": (4, -1)}, "settings.wrong-value", r"windows is \[4, -1\]"),
    ],
)
def test_what_a_configuration_refuses(changes: dict, code: str, value: str) -> None:
    with pytest.raises(BadInput, match=value) as caught:
        replace(ModelConfig(), **changes)
    assert caught.value.code == code


def test_the_width_it_proposes_is_one_it_takes() -> None:
    assert replace(ModelConfig(), width=112, heads=8).resolved.head_dim == 14
    assert replace(ModelConfig(), width=100, heads=8, head_dim=16).resolved.head_dim == 16


def test_what_was_left_to_others_follows_the_rest() -> None:
    config = ModelConfig(width=96, heads=4)
    assert (config.head_dim, config.key_value_heads, config.feed_forward_width) == (0, 0, 0)
    for changes, expected in (
        ({}, (24, 4, 256)),
        ({"width": 192}, (48, 4, 512)),
        ({"width": 100}, (25, 4, 288)),  # 266 and two thirds, up to the next 32
        ({"feed_forward": "gelu"}, (24, 4, 384)),
        ({"key_value_heads": 2, "head_dim": 16}, (16, 2, 256)),
        ({"feed_forward_width": 100}, (24, 4, 100)),
    ):
        known = replace(config, **changes).resolved
        assert (known.head_dim, known.key_value_heads, known.feed_forward_width) == expected
        assert known.resolved == known


def test_windows_repeat_over_layers() -> None:
    config = ModelConfig(windows=(8, 8, 0))
    assert [config.window(layer) for layer in range(7)] == [8, 8, None, 8, 8, None, 8]
    assert ModelConfig().window(0) is None


def test_a_configuration_survives_json() -> None:
    config = ModelConfig(
        position="rotary:base=500000/none",
        width=96,
        heads=4,
        windows=(16, 0),
        feed_forward="relu2",
        tied_embeddings=False,
        logit_softcap=15.0,
    )
    text = json.dumps(config.to_dict())
    assert ModelConfig.from_dict(json.loads(text)) == config
    assert ModelConfig.from_dict(config.resolved.to_dict()) == config.resolved
    assert ModelConfig.from_dict({}) == ModelConfig()
    assert hash(ModelConfig.from_dict(json.loads(text))) == hash(config)


def test_unknown_fields_are_named() -> None:
    with pytest.raises(BadInput) as caught:
        ModelConfig.from_dict({"widht": 3, "width": 96, "dept": 4})
    assert str(caught.value) == (
        "unknown model fields: dept, widht; if a later version wrote them, upgrade wordorder"
    )


def test_a_configuration_stays_as_it_is() -> None:
    config = ModelConfig()
    with pytest.raises(FrozenInstanceError):
        config.width = 3  # type: ignore[misc]


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("kind", ["transformer", "gru"])
def test_presets_build(name: str, kind: str) -> None:
    config = ModelConfig(**{**PRESETS[name], "kind": kind})
    with torch.device("meta"):
        model = make_model(config)
    assert isinstance(model, RecurrentLanguageModel if kind == "gru" else LanguageModel)
    for size in ("width", "layers", "heads", "trained_length"):
        assert getattr(model.config, size) == PRESETS[name][size]
    assert model.config.head_dim in (32, 64)


def test_presets_grow() -> None:
    with torch.device("meta"):
        models = [make_model(ModelConfig(**preset)) for preset in PRESETS.values()]
    sizes = [model.parameter_counts()["matrices"] for model in models]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == len(PRESETS)


def test_a_parallel_residual_that_had_no_effect_is_read_as_none() -> None:
    """Older versions accepted it with norms after the branches, and computed these in turn."""
    config = ModelConfig(norm_placement="after")
    assert ModelConfig.from_dict({**config.to_dict(), "parallel_residual": True}) == config
    both = {**ModelConfig(norm_placement="both").to_dict(), "parallel_residual": True}
    with pytest.raises(BadInput, match="--norm-placement both does not have"):
        ModelConfig.from_dict(both)
