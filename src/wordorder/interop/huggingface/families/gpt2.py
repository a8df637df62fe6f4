"""GPT-2: LayerNorm and a table of positions, learned or filled with sines."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from wordorder.interop.architecture import Architecture
from wordorder.interop.huggingface.weights import (
    activation,
    joined,
    layer_weights,
    renamed,
    table_length,
    with_biases,
    word_weights,
)
from wordorder.model import LanguageModel

MODEL_TYPE = "gpt2"
NAMES = {
    "attention_norm": "ln_1",
    "joined": "attn.c_attn",
    "attention.output": "attn.c_proj",
    "feed_forward_norm": "ln_2",
    "feed_forward.up": "mlp.c_fc",
    "feed_forward.down": "mlp.c_proj",
}


def configuration(architecture: Architecture) -> dict[str, Any]:
    """Return the fields of config.json that this class reads."""
    config = architecture.config
    return {
        "vocab_size": config.vocabulary_size,
        "n_positions": table_length(architecture),
        "n_embd": config.width,
        "n_layer": config.layers,
        "n_head": config.heads,
        "n_inner": config.feed_forward_width,
        "activation_function": activation(config.feed_forward),
        "layer_norm_epsilon": config.norm_epsilon,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    }


def weights(model: LanguageModel) -> dict[str, Tensor]:
    """Return the weights under this class's names."""
    architecture = Architecture.of(model)
    named = word_weights(model, "transformer.wte", "transformer.ln_f", "lm_head", biased=True)
    named["transformer.wpe.weight"] = architecture.position_table(table_length(architecture))
    for i in range(model.config.layers):
        layer = with_biases(joined(layer_weights(model, i), model.config.head_dim, by_heads=False))
        # Its linear layers, Conv1D, hold their matrices transposed.
        transposed = {name: value.T if value.dim() == 2 else value for name, value in layer.items()}
        named |= renamed(transposed, NAMES, f"transformer.h.{i}.")
    return named
