"""Names of the field stand for the catalogue's, wherever one is typed, and are never recorded."""

from __future__ import annotations

import pytest

from wordorder.model import ModelConfig
from wordorder.positions import ALIASES, CATALOGUE, PositionError, canonical, find, parse

NAMES = {
    "rope": "rotary",
    "RoPE": "rotary",
    "nope": "none",
    "sinusoid": "sinusoidal",
    "sin": "sinusoidal",
    "sincos": "sinusoidal",
    "absolute": "learned",
    "learned_absolute": "learned",
    "relative-bias": "t5",
    "t5_bias": "t5",
    "shaw-relative": "shaw",
    "XPos": "xpos",
    "ALiBi": "alibi",
    "fox": "forgetting",
    "forgetting_transformer": "forgetting",
    "disentangled": "deberta",
    "transformer_xl": "transformer-xl",
    "self_extend": "self-extend",
    "SSMax": "log-temperature",
}


def test_an_alias_stands_for_one_embedding_and_hides_none() -> None:
    assert set(ALIASES.values()) <= set(CATALOGUE)
    assert not set(ALIASES) & set(CATALOGUE)


@pytest.mark.parametrize(("typed", "name"), NAMES.items())
def test_a_name_of_the_field_is_found_and_recorded_by_ours(typed: str, name: str) -> None:
    assert find(typed) is CATALOGUE[name]
    assert str(parse(typed)) == name
    config = ModelConfig(position=typed)
    assert config.position == config.to_dict()["position"] == name
    assert ModelConfig.from_dict({"position": typed}) == ModelConfig(position=name)


@pytest.mark.parametrize(
    ("typed", "spec"),
    [
        ("rope/nope", "rotary/none"),
        ("learned+rope:base=500", "learned+rotary:base=500"),
        ("rope : base=500", "rotary : base=500"),
        ("RoPE:scaling=longrope,long_factors=[1,2.5]/rope", None),
        ("my_module.RoPE+t5_bias", "my_module.RoPE+t5"),
        ("", ""),
        ("+/rope", "+/rotary"),
    ],
)
def test_sums_and_patterns_hold_aliases_too(typed: str, spec: str | None) -> None:
    expected = spec
    if expected is None:
        expected = "rotary:scaling=longrope,long_factors=[1,2.5]/rotary"
    assert canonical(typed) == expected
    assert canonical(expected) == expected


def test_options_of_an_alias_are_its_own() -> None:
    assert str(parse("learned+rope:base=500000")) == "learned+rotary:base=500000"
    with pytest.raises(PositionError, match=r"rope .* 'bas': did you mean base") as caught:
        parse("rope:bas=3")
    assert caught.value.code == "positions.unknown-option"


@pytest.mark.parametrize(
    ("typed", "meant"), [("roep", "rotary"), ("rotery", "rotary"), ("alibbi", "alibi")]
)
def test_what_is_none_is_met_with_a_name_that_is(typed: str, meant: str) -> None:
    for function in (parse, find):
        with pytest.raises(PositionError, match=f"'{typed}' .* did you mean {meant}\\?") as caught:
            function(typed)
        assert caught.value.code == "positions.unknown-name"


@pytest.mark.parametrize("value", ["nan", "-nan", "many"])
def test_an_option_is_a_number(value: str) -> None:
    with pytest.raises(PositionError, match=f"base={value} must be a number"):
        parse(f"rotary:base={value}")
