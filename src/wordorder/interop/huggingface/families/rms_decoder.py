"""What Llama, Qwen3 and SmolLM3 share: RMSNorm, SwiGLU and the same names of weights."""

from __future__ import annotations

from typing import Any

from wordorder.interop.architecture import Architecture
from wordorder.interop.huggingface.fields import Fields, pattern
from wordorder.interop.huggingface.rope_fields import RotarySettings
from wordorder.interop.huggingface.rotary import max_position_embeddings, rope_settings
from wordorder.interop.weights import WeightMap

WEIGHTS = WeightMap(
    table="model.embed_tokens",
    head="lm_head",
    norm="model.norm",
    layer="model.layers.{}.",
    names={
        "attention_norm": "input_layernorm",
        "attention.query": "self_attn.q_proj",
        "attention.key": "self_attn.k_proj",
        "attention.value": "self_attn.v_proj",
        "attention.query_norm": "self_attn.q_norm",
        "attention.key_norm": "self_attn.k_norm",
        "attention.output": "self_attn.o_proj",
        "feed_forward_norm": "post_attention_layernorm",
        "feed_forward.gate": "mlp.gate_proj",
        "feed_forward.up": "mlp.up_proj",
        "feed_forward.down": "mlp.down_proj",
    },
)
ATTENTION = ("attention.query", "attention.key", "attention.value", "attention.output")
FEED_FORWARD = ("feed_forward.gate", "feed_forward.up", "feed_forward.down")
SWIGLU = {"silu": "swiglu", "swish": "swiglu"}
KINDS = ("sliding_attention", "full_attention")


def settings(architecture: Architecture) -> dict[str, Any]:
    """Return the fields of config.json that all of them have."""
    config = architecture.config
    rotary = next(iter(architecture.rotaries), None)
    return {
        "vocab_size": config.vocabulary_size,
        "hidden_size": config.width,
        "intermediate_size": config.feed_forward_width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.key_value_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_epsilon,
        "max_position_embeddings": max_position_embeddings(rotary, config.trained_length),
        "attention_bias": config.biases,
        "attention_dropout": 0.0,
        **rope_settings(rotary),
    }


def windows(architecture: Architecture) -> dict[str, Any]:
    """Return the fields of config.json that say which layers have a sliding window."""
    config = architecture.config
    return {
        "use_sliding_window": bool(architecture.window_sizes),
        "sliding_window": max(architecture.window_sizes, default=None),
        "layer_types": [KINDS[config.window(i) is None] for i in range(config.layers)],
    }


def options(
    fields: Fields,
    rotary: RotarySettings,
    *,
    biases: bool,
    is_tied: bool = False,
    activation: tuple[str, dict[str, str], str] | None = None,
) -> dict[str, Any]:
    """Return the options of ModelConfig that all of them have.

    Args:
        biases: whether any linear layer has one.
        is_tied: whether the class ties its output layer where the file does not say so.
        activation: the field of the gate's function, the feed-forward of each function, and the
            function where the file has none; None: Llama's.
    """
    heads = fields.integer("num_attention_heads")
    feed_forward = fields.choice(*(activation or ("hidden_act", SWIGLU, "silu")))
    return {
        "position": rotary.spec,
        "vocabulary_size": fields.integer("vocab_size"),
        "width": fields.integer("hidden_size"),
        "layers": fields.integer("num_hidden_layers"),
        "heads": heads,
        "key_value_heads": fields.integer("num_key_value_heads", heads),
        "head_dim": head_dim(fields),
        "feed_forward": feed_forward,
        "feed_forward_width": fields.integer("intermediate_size"),
        "norm": "rms",
        "norm_epsilon": fields.number("rms_norm_eps", 1e-6),
        "biases": biases,
        "qk_norm": False,
        "tied_embeddings": fields.flag("tie_word_embeddings", is_tied),
        "trained_length": rotary.trained_length,
    }


def head_dim(fields: Fields) -> int:
    """Return the width of a head."""
    shared = fields.integer("hidden_size") // fields.integer("num_attention_heads")
    return fields.integer("head_dim", shared)


def read_windows(fields: Fields, first: int = 0) -> tuple[int, ...]:
    """Return the sliding windows of the layers, 0 for none: the inverse of `windows`.

    Args:
        first: the first layer that has one, where the file does not name each layer's kind.
    """
    layers, size = fields.integer("num_hidden_layers"), fields.get("sliding_window")
    kinds = fields.sequence("layer_types", layers, KINDS)
    if kinds is None:
        kinds = [KINDS[i < first] for i in range(layers)]
    if not fields.flag("use_sliding_window", False) or size is None or KINDS[0] not in kinds:
        return ()
    size = fields.integer("sliding_window")
    return tuple(pattern([size if kind == KINDS[0] else 0 for kind in kinds]))
