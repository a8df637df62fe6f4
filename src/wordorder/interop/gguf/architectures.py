"""What each architecture of llama.cpp calls our weights, and its metadata."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from wordorder.interop.architecture import Architecture
from wordorder.interop.weights import (
    WeightMap,
    joined,
    layer_weights,
    norm_weights,
    renamed,
    table_length,
    with_biases,
    with_sinks,
)
from wordorder.model import LanguageModel
from wordorder.positions import Rotary

from . import rotary

Metadata = dict[str, Any]
Tensors = dict[str, Tensor]

NAMES = {
    "attention_norm": "attn_norm",
    "attention.query": "attn_q",
    "attention.key": "attn_k",
    "attention.value": "attn_v",
    "attention.query_norm": "attn_q_norm",
    "attention.key_norm": "attn_k_norm",
    "joined": "attn_qkv",
    "attention.output": "attn_output",
    "attention_output_norm": "post_attention_norm",
    "feed_forward_norm": "ffn_norm",
    "feed_forward.gate": "ffn_gate",
    "feed_forward.up": "ffn_up",
    "feed_forward.down": "ffn_down",
    "feed_forward_output_norm": "post_ffw_norm",
}
NO_WINDOW = 1 << 20  # a window longer than any text
SOFTMAX = 1  # llama.cpp's number of a gate that no layer has


class Form(NamedTuple):
    """How one architecture differs from the others.

    Args:
        rope: the settings of rotary, or None for an architecture that turns nothing.
        halves: pairs of dimensions are (i, i + half).
        whole: turns whole heads, some of whose pairs may have frequency 0.
        is_gpt: queries, keys and values are one projection, and every module has a bias.
        always_untied: the output layer is a tensor of its own.
        has_sinks: attention has sinks.
        scales_words: word vectors are multiplied by the square root of the width.
        further: returns more metadata and tensors.
    """

    rope: Callable[[Rotary | None], rotary.RopeSettings] | None = None
    halves: bool = False
    whole: bool = True
    is_gpt: bool = False
    always_untied: bool = False
    has_sinks: bool = False
    scales_words: bool = False
    further: Callable[[LanguageModel], tuple[Metadata, Tensors]] = lambda model: ({}, {})


def _position_table(model: LanguageModel) -> tuple[Metadata, Tensors]:
    architecture = Architecture.of(model)
    length = table_length(architecture)
    table = architecture.position_table(length)
    return {"context_length": length}, {"position_embd.weight": table}


def _embedding_norm(model: LanguageModel) -> tuple[Metadata, Tensors]:
    return {}, with_biases(norm_weights(model.embedding_norm, "token_embd_norm"))


def _neox(model: LanguageModel) -> tuple[Metadata, Tensors]:
    embedding = next(iter(Architecture.of(model).rotaries), None)
    turned = model.config.head_dim if embedding is None else 2 * embedding.pairs
    residual = {"use_parallel_residual": model.config.parallel_residual}
    return {"rope.dimension_count": turned, **residual}, {}


def _granite(model: LanguageModel) -> tuple[Metadata, Tensors]:
    return {"logit_scale": 1.0, "rope.scaling.finetuned": False}, {}


def _granite_swa(model: LanguageModel) -> tuple[Metadata, Tensors]:
    config, architecture = model.config, Architecture.of(model)
    layers = range(config.layers)
    windows = architecture.window_sizes  # llama.cpp aborts where no layer has one
    metadata = {
        "logit_scale": 1.0,
        "attention.sliding_window": max(windows, default=NO_WINDOW),
        "attention.sliding_window_pattern": [
            not windows or config.window(i) is not None for i in layers
        ],
        "attention.rope_pattern": [architecture.rotary(i) is not None for i in layers],
    }
    return metadata, {}


def _gemma3(model: LanguageModel) -> tuple[Metadata, Tensors]:
    """Return the bases and windows: every N-th layer has none, with N = 0 each layer has one."""
    config, architecture = model.config, Architecture.of(model)
    limited = [config.window(i) is not None for i in range(config.layers)]
    bases = {
        kind: rotary.by_metadata(architecture.rotary(limited.index(kind))).metadata
        for kind in set(limited)
    }
    metadata = bases.get(False, {})
    if any(limited):
        metadata |= {
            "attention.sliding_window": max(architecture.window_sizes),
            "attention.sliding_window_pattern": 0 if all(limited) else limited.index(False) + 1,
            "rope.freq_base_swa": bases[True]["rope.freq_base"],
        }
    if config.logit_softcap:
        metadata["final_logit_softcapping"] = config.logit_softcap
    return metadata, {}


def _exaone(model: LanguageModel) -> tuple[Metadata, Tensors]:
    """Return what makes EXAONE-MoE dense: its local layers turn, its global layers do not."""
    config, architecture = model.config, Architecture.of(model)
    metadata = {
        "leading_dense_block_count": config.layers,
        "expert_feed_forward_length": config.feed_forward_width,
        "expert_gating_func": SOFTMAX,
        "attention.sliding_window": max(architecture.window_sizes, default=NO_WINDOW),
        "attention.sliding_window_pattern": [
            architecture.rotary(i) is not None for i in range(config.layers)
        ],
    }
    return metadata, {}


def _mpt(model: LanguageModel) -> tuple[Metadata, Tensors]:
    return {"attention.max_alibi_bias": 8.0}, {}


FORMS: dict[str, Form] = {
    "qwen3": Form(rotary.by_metadata, halves=True),
    "llama": Form(rotary.by_divisors),
    "granite": Form(further=_granite),
    "granite_swa": Form(rotary.by_divisors, has_sinks=True, further=_granite_swa),
    "exaone-moe": Form(rotary.by_divisors, halves=True, always_untied=True, further=_exaone),
    "gemma3": Form(halves=True, scales_words=True, further=_gemma3),
    "refact": Form(),
    "gpt2": Form(is_gpt=True, further=_position_table),
    "gptneox": Form(
        rotary.by_metadata,
        halves=True,
        whole=False,
        is_gpt=True,
        always_untied=True,
        further=_neox,
    ),
    "bloom": Form(is_gpt=True, further=_embedding_norm),
    "mpt": Form(is_gpt=True, further=_mpt),
}


def metadata(model: LanguageModel, name: str) -> Metadata:
    """Return the metadata of a model, by keys after the architecture's name."""
    config, form = model.config, FORMS[name]
    norm = (
        "attention.layer_norm_rms_epsilon"
        if config.norm == "rms"
        else ("attention.layer_norm_epsilon")
    )
    return {
        "vocab_size": config.vocabulary_size,
        "context_length": config.trained_length,
        "embedding_length": config.width,
        "block_count": config.layers,
        "feed_forward_length": config.feed_forward_width,
        "attention.head_count": config.heads,
        "attention.head_count_kv": config.key_value_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "rope.dimension_count": config.head_dim,
        norm: config.norm_epsilon,
        **_rope(model, form).metadata,
        **form.further(model)[0],
    }


def tensors(model: LanguageModel, name: str) -> Tensors:
    """Return the weights under the names of an architecture."""
    config, form, architecture = model.config, FORMS[name], Architecture.of(model)
    words = WeightMap(
        "token_embd",
        "output",
        "output_norm",
        "blk.{}.",
        NAMES,
        has_biases=form.is_gpt,
        scales_words=form.scales_words,
    )
    named = words.word_weights(model)
    if form.always_untied:
        named.setdefault("output.weight", named["token_embd.weight"])
    rope = _rope(model, form)
    named |= rope.tensors
    for i in range(config.layers):
        layer, embedding = layer_weights(model, i), architecture.rotary(i)
        if embedding is not None:
            layer = rotary.sharpened(layer, rope.query_factor)
        layer = rotary.in_order(
            layer, embedding, config.head_dim, halves=form.halves, whole=form.whole
        )
        if form.is_gpt:
            layer = with_biases(joined(layer, config.head_dim, by_heads=False))
        if form.has_sinks:
            layer = with_sinks(layer, model)
            named[f"blk.{i}.attn_sinks.weight"] = layer.pop("attention.sinks")
        named |= renamed(layer, NAMES, f"blk.{i}.")
    return named | form.further(model)[1]


def _rope(model: LanguageModel, form: Form) -> rotary.RopeSettings:
    if form.rope is None:
        return rotary.RopeSettings({})
    return form.rope(next(iter(Architecture.of(model).rotaries), None))
