"""What Llama, Qwen3 and SmolLM3 share: RMSNorm, SwiGLU and the same names of weights."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from wordorder.interop.architecture import Architecture
from wordorder.interop.huggingface.rotary import in_halves, max_position_embeddings, rope_settings
from wordorder.interop.huggingface.weights import layer_weights, renamed, word_weights
from wordorder.model import LanguageModel

NAMES = {
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
}


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
    kinds = ("sliding_attention", "full_attention")
    return {
        "use_sliding_window": bool(architecture.window_sizes),
        "sliding_window": max(architecture.window_sizes, default=None),
        "layer_types": [kinds[config.window(i) is None] for i in range(config.layers)],
    }


def weights(model: LanguageModel) -> dict[str, Tensor]:
    """Return the weights under the names that all of them have."""
    architecture = Architecture.of(model)
    named = word_weights(model, "model.embed_tokens", "model.norm", "lm_head")
    for i in range(model.config.layers):
        layer = in_halves(layer_weights(model, i), architecture.rotary(i), model.config.head_dim)
        named |= renamed(layer, NAMES, f"model.layers.{i}.")
    return named
