"""The table of holders: what each class holds, and what a message says where none does."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from exported_runs import BERT, GGUF_ROWS, GPT, GPT_GELU, MPT, RMS, ROWS, TANH, TRAINED

from wordorder.cli.options.train import read_options
from wordorder.errors import BadInput
from wordorder.interop.gguf.architectures import FORMS
from wordorder.interop.holders import (
    HOLDERS,
    KINDS,
    architecture_of_llama_cpp,
    exports,
    exports_of_position,
    holder_of,
    stock_class,
)
from wordorder.interop.huggingface.families import FAMILIES
from wordorder.interop.targets import TARGETS
from wordorder.model import ModelConfig
from wordorder.positions import CATALOGUE

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
UNHELD_BY_LLAMA_CPP: dict[str, tuple[dict[str, Any], str]] = {
    "softcap": ({"logit_softcap": 30.0}, "--logit-softcap 0"),
    "alibi in a default model": ({"position": "alibi"}, "--no-qk-norm"),
    "alibi with windows": ({**RMS, "position": "alibi", "windows": (4,)}, "--windows 0"),
    "GELU by the error function": (
        {**GPT_GELU, "position": "learned"},
        "--feed-forward gelu_tanh",
    ),
    "squared ReLU": ({**TANH, "position": "learned", "feed_forward": "relu2"}, "gelu_tanh"),
    "grouped keys in GPT-2": (
        {**TANH, "position": "learned", "key_value_heads": 2},
        "--key-value-heads 0",
    ),
    "QK-norm with a window in one layer": ({"windows": (4, 0)}, "--windows 0"),
    "longrope with QK-norm": (
        {"position": "rotary:scaling=longrope,factor=4,long_factors=[1,2,3,4]"},
        "--no-qk-norm",
    ),
    "two window sizes": ({**RMS, "windows": (4, 5)}, "--windows 0"),
    "bidirectional": ({"causal": False}, "--causal"),
}
NO_POSITION = (
    "kerple",
    "alibi+rotary",
    "rotary:base=100,scaling=linear,factor=2/rotary:base=200",
    "rotary:fraction=0.5,scaling=yarn,factor=4",
    "rotary:proportional=true,fraction=0.5,scaling=ntk,factor=4",
    "alibi/none",
)


def config_of(options: dict[str, Any]) -> ModelConfig:
    return ModelConfig(**{**SIZES, **options})


def test_every_class_has_maps_and_rows() -> None:
    rows = {target: [h for h in HOLDERS if h.target == target] for target in KINDS}
    assert {*(holder.family for holder in rows["hf"]), "own_code"} == set(FAMILIES)
    assert {holder.class_name for holder in rows["hf"]} == set(ROWS)
    assert {holder.class_name for holder in rows["gguf"]} == set(FORMS) == set(GGUF_ROWS)


@pytest.mark.parametrize("kind,options", ALL)
def test_each_row_is_held_by_its_class(kind: str, options: dict[str, Any]) -> None:
    assert stock_class(config_of(options)).class_name == kind


@pytest.mark.parametrize(
    "architecture,options", [(a, o) for a, rows in GGUF_ROWS.items() for o in rows.values()]
)
def test_each_row_is_held_by_its_architecture(architecture: str, options: dict[str, Any]) -> None:
    assert architecture_of_llama_cpp(config_of(options)).class_name == architecture


@pytest.mark.parametrize(
    "target,name",
    [*(("hf", name) for name in UNHELD), *(("gguf", name) for name in UNHELD_BY_LLAMA_CPP)],
)
def test_a_message_says_what_to_change_and_that_is_held(target: str, name: str) -> None:
    options, change = (UNHELD if target == "hf" else UNHELD_BY_LLAMA_CPP)[name]
    with pytest.raises(BadInput) as caught:
        holder_of(config_of(options), target)
    assert caught.value.code == "interop.no-class"
    assert change in str(caught.value)
    typed = re.search(r"train with (.+)$", str(caught.value))[1].split()
    typed_model = read_options(typed).train.model
    names = {word[2:].removeprefix("no-").replace("-", "_") for word in typed if word[:2] == "--"}
    fields = {name: getattr(typed_model, name) for name in names - {"objective"}}
    assert holder_of(replace(config_of(options), **fields), target)


@pytest.mark.parametrize("position", NO_POSITION)
def test_a_position_that_none_has_is_named(position: str) -> None:
    for options in ({}, GPT):
        with pytest.raises(BadInput) as caught:
            stock_class(config_of({**options, "position": position}))
        assert caught.value.code == "interop.no-class-for-position"
        assert position.split(":")[0] in str(caught.value)


@pytest.mark.parametrize("position", ["rotary:scaling=dynamic,factor=2", "kerple", "alibi/none"])
def test_a_position_that_llama_cpp_lacks_is_named(position: str) -> None:
    with pytest.raises(BadInput) as caught:
        architecture_of_llama_cpp(config_of({**RMS, "position": position}))
    assert caught.value.code == "interop.no-class-for-position"
    assert position in str(caught.value)


@pytest.mark.parametrize("target", KINDS)
def test_a_gru_is_held_by_none(target: str) -> None:
    with pytest.raises(BadInput) as caught:
        holder_of(ModelConfig(kind="gru"), target)
    assert caught.value.code == "interop.no-class-for-kind"


def test_exports_are_named_in_one_line() -> None:
    default = "hf (Qwen3ForCausalLM), gguf (qwen3), onnx"
    assert exports(ModelConfig(), "bpe") == default
    assert exports(ModelConfig(), "characters") == "hf (Qwen3ForCausalLM), onnx"
    assert "gguf (qwen3, if it has the tokenizer), onnx" in exports(ModelConfig(), "custom")
    assert exports(ModelConfig(position="kerple"), "bpe") == "hf (own code), onnx"
    assert exports(ModelConfig(position="path"), "bpe") == "hf (own code)"
    assert exports(ModelConfig(position="alibi"), "bpe") == "hf (own code), onnx"
    assert exports(config_of(BERT), "bpe") == "hf (BertForMaskedLM), onnx"
    assert exports(ModelConfig(kind="gru"), "bpe") == "none"
    assert exports_of_position(ModelConfig()) == default
    held = {
        "alibi": "hf (MptForCausalLM), gguf (refact), onnx",
        "cope": "hf (own code), onnx",
        "selective": "hf (own code)",
        "rotary/selective": "hf (own code)",
        "rotary:scaling=longrope,factor=4,long_factors=[1,2,3,4]": (
            "hf (Qwen3ForCausalLM), gguf (llama)"
        ),
    }
    for position, line in held.items():
        sizes = {"width": 32, "layers": 2, "heads": 4}
        assert exports_of_position(ModelConfig(position=position, **sizes)) == line


@pytest.mark.parametrize("position", [*CATALOGUE, "rotary+alibi", "rotary/none"])
def test_what_is_named_is_what_the_commands_hold(position: str) -> None:
    """Each target's own check, before anything is written, agrees with the line."""
    for options in ({}, GPT, {"kind": "gru"}):
        config = config_of({"position": position, **options})
        line = exports(config, "bpe")
        holders = {}
        for name, target in TARGETS.items():
            with suppress(BadInput):
                holders[name] = target.holds(config)
        assert re.findall(r"(\w+)(?: \(|,|$)", line) == (list(holders) or ["none"])
        if "hf" in holders:
            stock = "own code" if holders["hf"].has_code else holders["hf"].class_name
            assert f"hf ({stock})" in line


def test_no_other_program_is_imported_to_know_them() -> None:
    code = (
        "import sys; from wordorder.cli.main import main; main(['positions', 'kerple']); "
        "import wordorder.cli.train; "
        "print([m for m in sys.argv[1:] if m in sys.modules])"
    )
    programs = ["transformers", "onnx", "onnxruntime", "onnxscript", "xllamacpp", "gguf"]
    done = subprocess.run(
        [sys.executable, "-c", code, *programs], capture_output=True, text=True, check=True
    )
    assert "hf (own code), onnx" in done.stdout and done.stdout.endswith("\n[]\n")
