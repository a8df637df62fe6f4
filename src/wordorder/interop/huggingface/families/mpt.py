"""MPT: ALiBi, LayerNorm, no biases, and GELU by the error function."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from wordorder.interop.architecture import Architecture
from wordorder.interop.huggingface.weights import (
    joined,
    layer_weights,
    renamed,
    table_length,
    word_weights,
)
from wordorder.model import LanguageModel

MODEL_TYPE = "mpt"
NAMES = {
    "attention_norm": "norm_1",
    "joined": "attn.Wqkv",
    "attention.output": "attn.out_proj",
    "feed_forward_norm": "norm_2",
    "feed_forward.up": "ffn.up_proj",
    "feed_forward.down": "ffn.down_proj",
}


def configuration(architecture: Architecture) -> dict[str, Any]:
    """Return the fields of config.json that this class reads."""
    config = architecture.config
    return {
        "vocab_size": config.vocabulary_size,
        "d_model": config.width,
        "n_heads": config.heads,
        "n_layers": config.layers,
        "expansion_ratio": 4,
        "max_seq_len": table_length(architecture),
        "layer_norm_epsilon": config.norm_epsilon,
        "no_bias": True,
        "resid_pdrop": 0.0,
        "emb_pdrop": 0.0,
        "attn_config": {"alibi": True, "attn_pdrop": 0},
    }


def weights(model: LanguageModel) -> dict[str, Tensor]:
    """Return the weights under this class's names."""
    named = word_weights(model, "transformer.wte", "transformer.norm_f", "lm_head")
    for i in range(model.config.layers):
        layer = joined(layer_weights(model, i), model.config.head_dim, by_heads=False)
        named |= renamed(layer, NAMES, f"transformer.blocks.{i}.")
    return named
