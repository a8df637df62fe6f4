"""BERT: bidirectional, norms after each branch, a table of positions, masked tokens.

BERT's output layer is preceded by a linear layer, GELU and LayerNorm; wordorder's reads the hidden
states themselves. The three are set so that they give the hidden states back:

    h = w * z + b              the last LayerNorm: z has mean 0 and variance 1
    dense(h) = S * z + B       undoes w and b
    gelu(S * z + B)            is the same number: B makes all of them larger than S
    LayerNorm(S * z + B) = w * z + b
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from wordorder.interop.architecture import Architecture
from wordorder.interop.huggingface.weights import (
    activation,
    layer_weights,
    norm_weights,
    renamed,
    table_length,
    with_biases,
)
from wordorder.model import LanguageModel

MODEL_TYPE = "bert"
NAMES = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "feed_forward.up": "intermediate.dense",
    "feed_forward.down": "output.dense",
    "feed_forward_norm": "output.LayerNorm",
}
# S: so large that GELU leaves numbers above it as they are and that the epsilon of LayerNorm
# vanishes beside its square; a power of two, so that scaling by it rounds nothing.
HEAD_SCALE = 16.0


def configuration(architecture: Architecture) -> dict[str, Any]:
    """Return the fields of config.json that this class reads."""
    config = architecture.config
    return {
        "vocab_size": config.vocabulary_size,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.feed_forward_width,
        "hidden_act": activation(config.feed_forward),
        "max_position_embeddings": table_length(architecture),
        "type_vocab_size": 1,
        "layer_norm_eps": config.norm_epsilon,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }


def weights(model: LanguageModel) -> dict[str, Tensor]:
    """Return the weights under this class's names."""
    config, architecture = model.config, Architecture.of(model)
    table = model.embedding.weight.detach() * config.embedding_scale
    embeddings = {
        "word_embeddings.weight": table,
        "position_embeddings.weight": architecture.position_table(table_length(architecture)),
        "token_type_embeddings.weight": table.new_zeros(1, config.width),
        **with_biases(norm_weights(model.embedding_norm, "LayerNorm")),
    }
    named = {f"bert.embeddings.{name}": value for name, value in embeddings.items()}
    for i in range(config.layers):
        layer = with_biases(layer_weights(model, i))
        named |= renamed(layer, NAMES, f"bert.encoder.layer.{i}.")
    return named | _head(model, layer["feed_forward_norm.weight"], layer["feed_forward_norm.bias"])


def _head(model: LanguageModel, weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """Return the output layer, which leaves hidden states as the last norm gives them.

    Args:
        weight, bias: of that norm, (width,).
    """
    offset = HEAD_SCALE * (math.ceil(math.sqrt(len(weight))) + 1)  # |z| is at most sqrt(width)
    output_scale = 1.0 if model.head is not None else model.config.embedding_scale
    transform = {
        "dense.weight": torch.diag(HEAD_SCALE / weight),
        "dense.bias": offset - HEAD_SCALE * bias / weight,
        "LayerNorm.weight": weight / output_scale,
        "LayerNorm.bias": bias / output_scale,
    }
    prefix = "cls.predictions"
    named = {f"{prefix}.transform.{name}": value for name, value in transform.items()}
    named[f"{prefix}.bias"] = weight.new_zeros(model.config.vocabulary_size)
    if model.head is not None:
        named[f"{prefix}.decoder.weight"] = model.head.weight.detach()
        named[f"{prefix}.decoder.bias"] = named[f"{prefix}.bias"]
    return named
