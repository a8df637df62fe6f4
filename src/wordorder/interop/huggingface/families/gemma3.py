"""Gemma 3: norms on both sides of each branch, QK-norm, and rotary with a local and a global base.

Its norms multiply by 1 + weight, and its scores by a constant of their own instead of
1/sqrt(head_dim), which is folded into the norm of the queries.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wordorder.interop.architecture import Architecture
from wordorder.interop.huggingface.fields import Fields, Imported, pattern
from wordorder.interop.huggingface.rope_fields import RotarySettings
from wordorder.interop.huggingface.rotary import rope_settings

from . import rms_decoder
from .layer_kinds import FULL, SLIDING, layer_types, positions, rope_by_kind

MODEL_TYPE = "gemma3_text"
WEIGHTS = replace(
    rms_decoder.WEIGHTS,
    names={
        **rms_decoder.WEIGHTS.names,
        "attention_output_norm": "post_attention_layernorm",
        "feed_forward_norm": "pre_feedforward_layernorm",
        "feed_forward_output_norm": "post_feedforward_layernorm",
    },
    norm_offset=1.0,
    scales_words=True,
)
# The field of older files and the class's base, by the kind of a layer.
BASES = {FULL: ("rope_theta", 1_000_000.0), SLIDING: ("rope_local_base_freq", 10_000.0)}
ANY_WINDOW = 4096  # of a class with no sliding layers, which does not use it


def configuration(architecture: Architecture) -> dict[str, Any]:
    """Return the fields of config.json that this class reads.

    Version 4 of transformers reads the local base alone from `rope_local_base_freq`, everything
    else of rotary from `rope_theta` and `rope_scaling`.
    """
    rope = rope_by_kind(architecture)
    kinds = layer_types(architecture)
    of_full = architecture.rotary(kinds.index(FULL)) if FULL in kinds else architecture.rotary(0)
    return {
        **settings(architecture),
        **rope_settings(of_full),
        "rope_parameters": rope,
        "rope_local_base_freq": rope[SLIDING]["rope_theta"],
    }


def settings(architecture: Architecture) -> dict[str, Any]:
    """Return the fields of config.json that Gemma 2 has too."""
    config = architecture.config
    return {
        **rms_decoder.settings(architecture),
        "hidden_activation": "gelu_pytorch_tanh",
        "hidden_act": "gelu_pytorch_tanh",  # which the class does not read
        "sliding_window": max(architecture.window_sizes, default=ANY_WINDOW),
        "layer_types": layer_types(architecture),
        "query_pre_attn_scalar": config.head_dim,
        "final_logit_softcapping": config.logit_softcap or None,
        "attn_logit_softcapping": config.attention_softcap or None,
        "use_bidirectional_attention": False,
    }


def imported(fields: Fields) -> Imported:
    """Return the architecture of a config.json."""
    layers, head_dim = fields.integer("num_hidden_layers"), fields.integer("head_dim", 256)
    every = fields.integer("sliding_window_pattern", fields.get("_sliding_window_pattern", 6))
    kinds = fields.sequence("layer_types", layers, rms_decoder.KINDS)
    if kinds is None:
        kinds = [SLIDING if (i + 1) % every else FULL for i in range(layers)]
    window = fields.integer("sliding_window", 4096)
    spec, trained = positions(fields, kinds, BASES, head_dim, scaled=(FULL,))
    fields.fixed(
        attn_logit_softcapping=None, use_bidirectional_attention=False, attention_bias=False
    )
    options = {
        **options_of(fields, head_dim),
        "position": spec,
        "windows": tuple(pattern([window if kind == SLIDING else 0 for kind in kinds])),
        "trained_length": trained,
        "qk_norm": True,
    }
    constant = fields.number("query_pre_attn_scalar", 256.0)
    return Imported(options, replace(WEIGHTS, query_factor=(head_dim / constant) ** 0.5))


def options_of(fields: Fields, head_dim: int) -> dict[str, Any]:
    """Return the options of ModelConfig without those of positions."""
    rotary = RotarySettings("none", fields.integer("max_position_embeddings"))
    fields.get("hidden_act")  # which the class does not read
    activation = ("hidden_activation", {"gelu_pytorch_tanh": "geglu_tanh"}, "gelu_pytorch_tanh")
    cap = fields.get("final_logit_softcapping")
    return {
        **rms_decoder.options(fields, rotary, biases=False, is_tied=True, activation=activation),
        "head_dim": head_dim,
        "key_value_heads": fields.integer("num_key_value_heads", 4),
        "norm_placement": "both",
        "embedding_scale": fields.integer("hidden_size") ** 0.5,
        "logit_softcap": 0.0 if cap is None else fields.number("final_logit_softcapping"),
    }
