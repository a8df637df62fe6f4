"""Gemma 3: norms on both sides of each branch, QK-norm, and rotary with a local and a global base.

Its norms multiply by 1 + weight, and its scores by a constant of their own instead of
1/sqrt(head_dim), which is folded into the norm of the queries.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wordorder.errors import BadInput
from wordorder.interop.huggingface.fields import Fields, Imported, pattern
from wordorder.interop.huggingface.rope_fields import RotarySettings, rotary_spec

from . import rms_decoder

WEIGHTS = replace(
    rms_decoder.WEIGHTS,
    names={
        **rms_decoder.WEIGHTS.names,
        "attention_output_norm": "post_attention_layernorm",
        "feed_forward_norm": "pre_feedforward_layernorm",
        "feed_forward_output_norm": "post_feedforward_layernorm",
    },
    norm_offset=1.0,
)
SLIDING, FULL = rms_decoder.KINDS
# The field of older files and the class's base, by the kind of a layer.
BASES = {FULL: ("rope_theta", 1_000_000.0), SLIDING: ("rope_local_base_freq", 10_000.0)}


def imported(fields: Fields) -> Imported:
    """Return the architecture of a config.json."""
    layers, head_dim = fields.integer("num_hidden_layers"), fields.integer("head_dim", 256)
    every = fields.integer("sliding_window_pattern", fields.get("_sliding_window_pattern", 6))
    kinds = fields.sequence("layer_types", layers, rms_decoder.KINDS)
    if kinds is None:
        kinds = [SLIDING if (i + 1) % every else FULL for i in range(layers)]
    window = fields.integer("sliding_window", 4096)
    rotary = {kind: _rotary(fields, kind, head_dim) for kind in dict.fromkeys(kinds)}
    fields.fixed(
        attn_logit_softcapping=None, use_bidirectional_attention=False, attention_bias=False
    )
    options = {
        **options_of(fields, head_dim),
        "position": "/".join(pattern([rotary[kind].spec for kind in kinds])),
        "windows": tuple(pattern([window if kind == SLIDING else 0 for kind in kinds])),
        "trained_length": min(each.trained_length for each in rotary.values()),
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


def _rotary(fields: Fields, kind: str, head_dim: int) -> RotarySettings:
    """Return the positions of the layers of one kind."""
    name, base = BASES[kind]
    nested = fields.part("rope_parameters").part(kind).values
    older = fields.part("rope_scaling").values if kind == FULL else {}
    settings = {"rope_theta": fields.number(name, base), **older, **nested}
    if "type" in settings:
        settings.setdefault("rope_type", settings.pop("type"))
    length = fields.integer("max_position_embeddings")
    rotary = rotary_spec(settings, f"{kind} of {fields.where}", head_dim, length)
    if rotary.score_factor != 1:  # queries of other layers have another factor
        raise BadInput(
            f"{fields.where}: attention_factor of {kind} cannot be imported: it must be the usual "
            "one of its rope_type",
            code="interop.attention-factor",
        )
    return rotary
