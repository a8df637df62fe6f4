"""BLOOM: ALiBi, LayerNorm, on the embeddings too, and GELU by its tanh formula."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from wordorder.interop.architecture import Architecture
from wordorder.interop.huggingface.weights import (
    joined,
    layer_weights,
    norm_weights,
    renamed,
    with_biases,
    word_weights,
)
from wordorder.model import LanguageModel

MODEL_TYPE = "bloom"
NAMES = {
    "attention_norm": "input_layernorm",
    "joined": "self_attention.query_key_value",
    "attention.output": "self_attention.dense",
    "feed_forward_norm": "post_attention_layernorm",
    "feed_forward.up": "mlp.dense_h_to_4h",
    "feed_forward.down": "mlp.dense_4h_to_h",
}


def configuration(architecture: Architecture) -> dict[str, Any]:
    """Return the fields of config.json that this class reads."""
    config = architecture.config
    return {
        "vocab_size": config.vocabulary_size,
        "hidden_size": config.width,
        "n_layer": config.layers,
        "n_head": config.heads,
        "layer_norm_epsilon": config.norm_epsilon,
        "apply_residual_connection_post_layernorm": False,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
    }


def weights(model: LanguageModel) -> dict[str, Tensor]:
    """Return the weights under this class's names."""
    named = word_weights(
        model, "transformer.word_embeddings", "transformer.ln_f", "lm_head", biased=True
    )
    norm = norm_weights(model.embedding_norm, "transformer.word_embeddings_layernorm")
    named |= with_biases(norm)
    for i in range(model.config.layers):
        layer = with_biases(joined(layer_weights(model, i), model.config.head_dim, by_heads=True))
        named |= renamed(layer, NAMES, f"transformer.h.{i}.")
    return named
