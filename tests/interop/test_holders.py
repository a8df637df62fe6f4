"""The table of holders: what each class holds, and what a message says where none does."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from exported_runs import BERT, GPT, GPT_GELU, MPT, RMS, ROWS, TRAINED

from wordorder.cli.options.train import read_options
from wordorder.errors import BadInput
from wordorder.interop.holders import HOLDERS, stock_class
from wordorder.interop.huggingface.families import FAMILIES
from wordorder.model import ModelConfig

SIZES = {"width": 32, "layers": 2, "heads": 4, "trained_length": TRAINED}
ALL = [(kind, options) for kind, rows in ROWS.items() for options in rows.values()]

# What no class holds, and a part of what is to be changed.
UNHELD: dict[str, tuple[dict[str, Any], str]] = {
    "softcap": ({"logit_softcap": 30.0}, "--logit-softcap 0"),
    "swiglu bidirectional": ({"causal": False}, "--causal"),
    "gelu": ({"feed_forward": "gelu"}, "--feed-forward swiglu"),
    "pattern with QK-norm": ({"position": "rotary/none"}, "--no-qk-norm"),
    "learned in a default model": ({"position": "learned"}, "--norm layer"),
    "alibi in a default model": ({"position": "alibi"}, "--no-qk-norm"),
    "alibi with a wide branch": ({**MPT, "feed_forward_width": 64}, "--feed-forward-width 0"),
    "alibi after": ({**MPT, "norm_placement": "after"}, "--norm-placement before"),
    "two window sizes": ({"windows": (4, 5)}, "--windows 0"),
    "windows in GPT-2": ({**GPT_GELU, "position": "learned", "windows": (4,)}, "--windows 0"),
    "grouped keys in GPT-2": (
        {**GPT_GELU, "position": "learned", "key_value_heads": 2},
        "--key-value-heads 0",
    ),
    "parallel": ({**RMS, "parallel_residual": True}, "--no-parallel-residual"),
    "embedding norm": ({**RMS, "embedding_norm": True}, "--no-embedding-norm"),
    "biases and QK-norm": ({"biases": True}, "--no-"),
    "BERT with squared relu": ({**BERT, "feed_forward": "relu2"}, "--feed-forward gelu"),
    "BERT without a norm": ({**BERT, "embedding_norm": False}, "--embedding-norm"),
}
NO_POSITION = (
    "kerple",
    "alibi+rotary",
    "rotary:base=100/rotary:base=200",
    "rotary:fraction=0.5,scaling=yarn,factor=4",
    "rotary:proportional=true,fraction=0.5,scaling=ntk,factor=4",
    "alibi/none",
)


def config_of(options: dict[str, Any]) -> ModelConfig:
    return ModelConfig(**{**SIZES, **options})


def test_every_class_has_maps_and_rows() -> None:
    assert {*(holder.family for holder in HOLDERS), "own_code"} == set(FAMILIES)
    assert {holder.class_name for holder in HOLDERS} == set(ROWS)


@pytest.mark.parametrize("kind,options", ALL)
def test_each_row_is_held_by_its_class(kind: str, options: dict[str, Any]) -> None:
    assert stock_class(config_of(options)).class_name == kind


@pytest.mark.parametrize("name", UNHELD)
def test_a_message_says_what_to_change_and_that_is_held(name: str) -> None:
    options, change = UNHELD[name]
    with pytest.raises(BadInput) as caught:
        stock_class(config_of(options))
    assert caught.value.code == "interop.no-class"
    assert change in str(caught.value)
    typed = re.search(r"train with (.+)$", str(caught.value))[1].split()
    typed_model = read_options(typed).train.model
    names = {word[2:].removeprefix("no-").replace("-", "_") for word in typed if word[:2] == "--"}
    fields = {name: getattr(typed_model, name) for name in names - {"objective"}}
    assert stock_class(replace(config_of(options), **fields))


@pytest.mark.parametrize("position", NO_POSITION)
def test_a_position_that_none_has_is_named(position: str) -> None:
    for options in ({}, GPT):
        with pytest.raises(BadInput) as caught:
            stock_class(config_of({**options, "position": position}))
        assert caught.value.code == "interop.no-class-for-position"
        assert position.split(":")[0] in str(caught.value)


def test_a_gru_is_held_by_none() -> None:
    with pytest.raises(BadInput) as caught:
        stock_class(ModelConfig(kind="gru"))
    assert caught.value.code == "interop.no-class-for-kind"
