"""GPT-NeoX (Pythia): LayerNorm, rotary on a part of each head, parallel residual or not."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from wordorder.interop.architecture import Architecture
from wordorder.interop.huggingface.rotary import in_halves, max_position_embeddings, rope_settings
from wordorder.interop.huggingface.weights import (
    activation,
    joined,
    layer_weights,
    renamed,
    with_biases,
    word_weights,
)
from wordorder.model import LanguageModel

MODEL_TYPE = "gpt_neox"
NAMES = {
    "attention_norm": "input_layernorm",
    "joined": "attention.query_key_value",
    "attention.output": "attention.dense",
    "feed_forward_norm": "post_attention_layernorm",
    "feed_forward.up": "mlp.dense_h_to_4h",
    "feed_forward.down": "mlp.dense_4h_to_h",
}
# The name in files; newer versions of transformers call the module lm_head and rename it.
HEAD = "embed_out"


def configuration(architecture: Architecture) -> dict[str, Any]:
    """Return the fields of config.json that this class reads."""
    config = architecture.config
    rotary = next(iter(architecture.rotaries), None)
    rope = rope_settings(rotary)
    fraction = 1.0 if rotary is None else 2 * rotary.pairs / config.head_dim
    rope["rope_parameters"].setdefault("partial_rotary_factor", fraction)
    return {
        "vocab_size": config.vocabulary_size,
        "hidden_size": config.width,
        "intermediate_size": config.feed_forward_width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "hidden_act": activation(config.feed_forward),
        "layer_norm_eps": config.norm_epsilon,
        "max_position_embeddings": max_position_embeddings(rotary, config.trained_length),
        "use_parallel_residual": config.parallel_residual,
        "attention_bias": True,
        "attention_dropout": 0.0,
        "hidden_dropout": 0.0,
        **rope,
        "rotary_pct": fraction,  # version 4's names
        "rotary_emb_base": rope["rope_theta"],
    }


def weights(model: LanguageModel) -> dict[str, Tensor]:
    """Return the weights under this class's names."""
    architecture, head_dim = Architecture.of(model), model.config.head_dim
    named = word_weights(model, "gpt_neox.embed_in", "gpt_neox.final_layer_norm", HEAD, biased=True)
    for i in range(model.config.layers):
        layer = in_halves(layer_weights(model, i), architecture.rotary(i), head_dim)
        layer = with_biases(joined(layer, head_dim, by_heads=True))
        named |= renamed(layer, NAMES, f"gpt_neox.layers.{i}.")
    return named
