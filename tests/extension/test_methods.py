"""Methods spell embeddings anew: what fits what, and how it is written."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from random_weights import filled

from wordorder.errors import BadInput
from wordorder.extension.base_bound import smallest_base
from wordorder.extension.methods import (
    METHODS,
    Stretch,
    base_of,
    check_fits,
    fitting,
    original_length,
    respelled,
    rotary_part,
    turning_pairs,
)
from wordorder.extension.with_position import with_position
from wordorder.model import LanguageModel, ModelConfig
from wordorder.model.presets import PRESETS
from wordorder.positions import CATALOGUE, build, parse

OLD, NEW = 64, 256
SIZES = {
    "vocabulary_size": 40,
    "width": 32,
    "layers": 2,
    "heads": 4,
    "feed_forward_width": 48,
    "trained_length": OLD,
}


def config_of(position: str) -> ModelConfig:
    return ModelConfig(**SIZES, position=position).resolved


def stretch_of(**more: object) -> Stretch:
    return Stretch(OLD, NEW, 8, **more)


def random_model(position: str) -> LanguageModel:
    """A model none of whose weights is zero."""
    return filled(LanguageModel(config_of(position))).eval()


@pytest.mark.parametrize(
    ("method", "spelled"),
    [
        ("unchanged", "rotary:base=500"),
        ("interpolate", "rotary:base=500,scaling=linear,factor=4"),
        ("ntk", "rotary:base=500,scaling=ntk,factor=4"),
        ("dynamic-ntk", "rotary:base=500,scaling=dynamic,original_length=64"),
        ("yarn", "rotary:base=500,scaling=yarn,factor=4,original_length=64,beta_fast=4"),
        (
            "yarn-published",
            "rotary:base=500,scaling=yarn,factor=4,original_length=64,beta_fast=32",
        ),
        ("llama3", "rotary:base=500,scaling=llama3,factor=4,original_length=64"),
        ("drop", "none"),
        ("self-extend", "self-extend:base=500,group=7,neighbours=32"),
    ],
)
def test_rotary_is_spelled_as(method: str, spelled: str) -> None:
    assert respelled(method, config_of("rotary:base=500"), stretch_of()) == spelled


def test_only_the_rotary_parts_of_a_pattern_change_and_tables_reach_the_new_length() -> None:
    spec = respelled("interpolate", config_of("learned+rotary/learned+none"), stretch_of())
    rotary = "rotary:base=1250,scaling=linear,factor=4"
    assert spec == f"learned:length=256+{rotary}/learned:length=256+none"


def test_a_scaled_embedding_is_scaled_anew_from_its_first_length() -> None:
    config = config_of("rotary:base=500,scaling=yarn,factor=2,original_length=32,beta_fast=8")
    assert original_length(config) == 32
    stretch = Stretch(32, NEW, 8)
    assert respelled("ntk", config, stretch) == "rotary:base=500,scaling=ntk,factor=8"
    unchanged = respelled("unchanged", config, stretch)
    assert unchanged == config.position


@pytest.mark.parametrize("method", ["interpolate", "ntk", "yarn", "llama3", "dynamic-ntk"])
def test_extended_twice_is_extended_at_once(method: str) -> None:
    first = ModelConfig(**{**PRESETS["nano"], "trained_length": 128}, position="rotary")
    model = first
    for length in (256, 512):
        stretch = Stretch(original_length(model), length, model.rotated_dim)
        model = replace(model, position=respelled(method, model, stretch), trained_length=length)
    at_once = respelled(method, first, Stretch(128, 512, first.rotated_dim))
    assert parse(model.position) == parse(at_once)


def test_base_is_the_smallest_that_serves_or_grows_with_the_length() -> None:
    (small,) = parse(respelled("base", config_of("rotary:base=100"), stretch_of())).layers[0]
    assert dict(small.options)["base"] == pytest.approx(smallest_base(NEW, 4), rel=1e-5)
    (large,) = parse(respelled("base", config_of("rotary:base=1e9"), stretch_of())).layers[0]
    assert dict(large.options)["base"] == 4e9
    (own,) = parse(respelled("base", config_of("rotary"), stretch_of(base=7e5))).layers[0]
    assert dict(own.options)["base"] == 7e5


def test_self_extend_fills_the_trained_distances() -> None:
    (part,) = parse(respelled("self-extend", config_of("rotary"), stretch_of())).layers[0]
    options = dict(part.options)
    group, near = options["group"], options["neighbours"]
    # Jin et al. 2024 reach (L - near) * group + near, with no larger group than needed.
    assert (OLD - near) * group + near >= NEW > (OLD - near) * (group - 1) + near
    with pytest.raises(BadInput) as caught:
        respelled("self-extend", config_of("rotary"), stretch_of(neighbours=64))
    assert caught.value.code == "extension.too-many-neighbours"


def test_yarns_ramp_is_scaled_below_4096() -> None:
    assert Stretch(4096, 8192, 64).beta_fast == 32
    assert Stretch(256, 2048, 64).beta_fast == 8
    assert Stretch(2, 4, 64).beta_fast == 1.5  # it must stay above one turn


@pytest.mark.parametrize(
    ("position", "fits"),
    [
        ("rotary", [m for m in METHODS if m != "resample"]),
        ("alibi", ["unchanged"]),
        ("t5/none", ["unchanged"]),
        ("learned", ["resample"]),
        ("sinusoidal", ["unchanged", "resample"]),
        ("alibi+rotary", [m for m in METHODS if m != "resample"]),
    ],
)
def test_what_fits(position: str, fits: list[str]) -> None:
    assert fitting(parse(position)) == fits


def test_what_does_not_fit_is_told_with_what_does() -> None:
    for method, spec, code in (
        ("yarn", "alibi", "extension.method-does-not-apply"),
        ("yarm", "rotary", "extension.unknown-method"),
        ("unchanged", "learned", "extension.method-does-not-apply"),
    ):
        with pytest.raises(BadInput) as caught:
            check_fits(method, parse(spec))
        assert caught.value.code == code


def test_pairs_and_base_of_a_model() -> None:
    part = rotary_part(config_of("none/rotary:base=77,fraction=0.5"))
    assert part is not None
    assert (base_of(part), turning_pairs(part, 8)) == (77.0, 2)
    assert rotary_part(config_of("alibi")) is None


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_longer_trained_length_changes_nothing_before_the_old_one(name: str) -> None:
    """Every option that stands for the trained length is written out."""
    method = "unchanged" if "unchanged" in fitting(parse(name)) else "resample"
    model = random_model(name)
    longer = with_position(model, respelled("unchanged", model.config, stretch_of()), NEW)
    tokens = torch.randint(40, (2, 12), generator=torch.Generator().manual_seed(1))
    if method == "resample":  # a table is stretched: only what is not one can stay
        assert longer.position.max_position == NEW - 1
        return
    torch.testing.assert_close(longer(tokens), model(tokens))
    assert longer.config.trained_length == NEW


def test_a_method_keeps_the_base_of_the_trained_length() -> None:
    """What follows from the length a model was trained at does not change with a longer one."""
    for method in ("interpolate", "ntk", "yarn", "dynamic-ntk", "self-extend", "unchanged"):
        spec = respelled(method, config_of("rotary"), stretch_of())
        assert "base=1250" in spec, spec
    (part,) = parse(respelled("base", config_of("rotary"), stretch_of())).layers[0]
    assert dict(part.options)["base"] == pytest.approx(max(4 * 1250, smallest_base(NEW, 4)))
    assert base_of(rotary_part(config_of("rotary"))) == 1250


def test_pinned_options_are_read_from_the_trained_length() -> None:
    shape = config_of("rotary").shape
    resolved_options = {name: dict(CATALOGUE[name](shape).resolved_options()) for name in CATALOGUE}
    base = {"base": 10_000 * OLD / 512}
    assert {name: found for name, found in resolved_options.items() if found} == {
        "axial": base,
        "coupled": {"most": (OLD - 1) // 2},
        "deberta": {"span": OLD // 4},
        "fire": {"threshold": OLD / 4},
        "fope": {**base, "period": OLD},
        "grape": base,
        "inkling": {"extent": OLD // 4},
        "learned": {"length": OLD},
        "log-temperature": {"scale": 1 / math.log(OLD)},
        "offset": {"most": OLD},
        "pope": base,
        "randomized": {"limit": 4 * OLD},
        "relative": {"clip": OLD // 4},
        "repo": base,
        "rotary": base,
        "self-extend": {**base, "neighbours": OLD // 8},
        "t5": {"max_distance": OLD // 4},
        "xpos": {**base, "scale_base": OLD / 2},
    }
    dynamic, yarn = (
        build(f"rotary:scaling={scaling}", shape).instances[0]
        for scaling in ("dynamic", "yarn,factor=2")
    )
    assert dynamic.resolved_options() == {**base, "original_length": OLD}
    assert yarn.resolved_options() == {**base, "original_length": OLD, "beta_fast": 4.0}
