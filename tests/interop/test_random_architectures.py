"""Whatever the table of holders accepts gives the same logits, for random architectures.

An architecture is a row of the table with some options changed at random. Every option of a model
is among those, so that one which a class lacks and no requirement names turns a test red.
"""

from __future__ import annotations

import random
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from exported_runs import GGUF_ROWS, LLAMA3, PROPORTIONAL, ROWS, TRAINED, YARN, write_run
from random_weights import random_model

from wordorder.errors import BadInput
from wordorder.interop.architecture import Architecture
from wordorder.interop.export import export
from wordorder.interop.holders import architecture_of_llama_cpp, stock_class
from wordorder.interop.huggingface.convert import converted
from wordorder.interop.huggingface.families import FAMILIES
from wordorder.interop.huggingface.rotary import static_length
from wordorder.interop.targets import TARGETS
from wordorder.interop.verify import compare
from wordorder.model import ModelConfig
from wordorder.positions import PositionError

QUICK, MANY = range(16), range(16, 300)
QUICK_GGUF, MANY_GGUF = range(4), range(4, 80)
MOST_CHANGED = 3
VALUES: dict[str, tuple[Any, ...]] = {
    "position": (
        "rotary",
        "rotary:layout=half,base=500",
        "rotary:fraction=0.5",
        "rotary:scaling=linear,factor=4",
        "rotary:scaling=ntk,factor=4",
        "rotary:scaling=dynamic,factor=2,original_length=12",
        PROPORTIONAL,
        YARN,
        f"{YARN},truncate=false",
        LLAMA3,
        "none",
        "none/rotary",
        "rotary:base=100/rotary:base=5000",
        f"rotary:base=100/{YARN}",
        "learned",
        "sinusoidal",
        "alibi",
        "kerple",
        "offset+rotary",
        "rotary+alibi",
    ),
    "width": (32, 48),
    "layers": (2, 3),
    "heads": (4, 2),
    "key_value_heads": (0, 1, 2),
    "head_dim": (0, 12),
    "attention": ("standard", "latent"),
    "latent_dim": (0, 12),
    "query_latent_dim": (0, 10),
    "rotary_head_dim": (0, 6),
    "value_head_dim": (0, 5),
    "feed_forward": (
        "swiglu",
        "swiglu_clamped",
        "geglu",
        "geglu_tanh",
        "gelu",
        "gelu_tanh",
        "relu",
        "relu2",
    ),
    "feed_forward_width": (0, 40),
    "experts": (0, 6),
    "active_experts": (0, 3),
    "shared_experts": (0, 1, 2),
    "expert_width": (0, 24),
    "dense_layers": (0, 1),
    "router": ("softmax", "sigmoid"),
    "balance_loss": (None, 0.1),
    "expert_groups": (1, 3),
    "active_groups": (1, 2),
    "normalized_routing": (True, False),
    "routed_scale": (1.0, 2.5),
    "norm": ("rms", "layer"),
    "norm_placement": ("before", "after", "both"),
    "first_norm": (True, False),
    "norm_epsilon": (1e-6, 1e-3),
    "embedding_norm": (False, True),
    "biases": (False, True),
    "parallel_residual": (False, True),
    "qk_norm": (True, False),
    "tied_embeddings": (True, False),
    "output_transform": (False, True),
    "output_bias": (False, True),
    "embedding_scale": (0.0, 1.0, 3.0),
    "logit_softcap": (0.0, 2.0),
    "attention_softcap": (0.0, 1.0),
    "attention_sinks": (False, True),
    "windows": ((), (5,), (5, 0), (0, 5, 5), (4, 5)),
    "causal": (True, False),
    "dropout": (None, 0.3),
    "trained_length": (TRAINED, 12),
}
SIZES = {"width": 32, "layers": 2, "heads": 4, "trained_length": TRAINED}


def test_every_option_of_a_model_is_drawn() -> None:
    assert set(VALUES) == {f.name for f in fields(ModelConfig)} - {"kind", "vocabulary_size"}


def drawn(seed: int, rows: dict[str, dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return the options of a model: those of a row, and some others."""
    chance = random.Random(seed)
    while True:
        options = {
            **SIZES,
            **chance.choice([row for kind in rows.values() for row in kind.values()]),
        }
        for name in chance.sample(sorted(VALUES), chance.randint(1, MOST_CHANGED)):
            options[name] = chance.choice(VALUES[name])
        try:
            Architecture.from_config(ModelConfig(**options))
        except (BadInput, PositionError):
            continue
        return options


def check_stock(seed: int) -> None:
    options = drawn(seed, ROWS)
    try:
        holder = stock_class(ModelConfig(**options))
    except BadInput:
        return
    model = random_model(60, **options)
    architecture = Architecture.of(model)
    longest = FAMILIES[holder.family].longest(architecture)
    static = static_length(next(iter(architecture.rotaries), None))
    for comparison in compare(model, converted(model), longest=longest, static_length=static):
        assert comparison.is_exact, (holder.class_name, comparison, options)


def check_gguf(seed: int, folder: Path) -> None:
    options = drawn(seed, GGUF_ROWS)
    try:
        architecture_of_llama_cpp(ModelConfig(**options))
    except BadInput:
        return
    exported = export(write_run(folder / "run", **options), TARGETS["gguf"])
    assert exported.written.comparisons, options


@pytest.mark.parametrize("seed", QUICK)
def test_stock_classes_give_the_same_logits(seed: int) -> None:
    pytest.importorskip("transformers")
    check_stock(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", MANY)
def test_stock_classes_give_the_same_logits_of_many(seed: int) -> None:
    pytest.importorskip("transformers")
    check_stock(seed)


@pytest.mark.parametrize("seed", QUICK_GGUF)
def test_llama_cpp_gives_the_same_logits(tmp_path: Path, seed: int) -> None:
    pytest.importorskip("xllamacpp")
    check_gguf(seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", MANY_GGUF)
def test_llama_cpp_gives_the_same_logits_of_many(tmp_path: Path, seed: int) -> None:
    pytest.importorskip("xllamacpp")
    check_gguf(seed, tmp_path)


def test_most_of_what_is_drawn_is_held() -> None:
    """Otherwise these tests compare little."""
    held = 0
    for seed in QUICK:
        try:
            held += bool(stock_class(ModelConfig(**drawn(seed, ROWS))))
        except BadInput:
            continue
    assert held >= len(QUICK) / 4
