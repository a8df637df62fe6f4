"""BLOOM: ALiBi, LayerNorm, on the embeddings too, and GELU by its tanh formula."""

from __future__ import annotations

from typing import Any

from wordorder.interop.architecture import Architecture
from wordorder.interop.huggingface.fields import Fields, Imported
from wordorder.interop.weights import WeightMap

MODEL_TYPE = "bloom"
WEIGHTS = WeightMap(
    table="transformer.word_embeddings",
    head="lm_head",
    norm="transformer.ln_f",
    embedding_norm="transformer.word_embeddings_layernorm",
    layer="transformer.h.{}.",
    names={
        "attention_norm": "input_layernorm",
        "joined": "self_attention.query_key_value",
        "attention.output": "self_attention.dense",
        "feed_forward_norm": "post_attention_layernorm",
        "feed_forward.up": "mlp.dense_h_to_4h",
        "feed_forward.down": "mlp.dense_4h_to_h",
    },
    joined="heads",
    has_biases=True,
)
# config.json does not say how long the sequences of training were; BLOOM's were this long.
TRAINED_LENGTH = 2048
# transformers adds a slope times the index of the key to scores: past a thousand tokens, float32
# rounds these sums by more than logits may differ.
LONGEST = 512


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


def imported(fields: Fields) -> Imported:
    """Return the architecture of a config.json."""
    width = fields.integer("hidden_size", fields.get("n_embed"))
    fields.fixed(
        n_embed=width,
        n_inner=4 * width,
        apply_residual_connection_post_layernorm=False,
        skip_bias_add=True,
        skip_bias_add_qkv=False,
        masked_softmax_fusion=True,
        attention_softmax_in_fp32=True,
        unk_token_id=fields.get("unk_token_id"),
    )
    for name in ("slow_but_exact", "offset_alibi"):  # neither changes what is computed
        fields.get(name)
    layers = fields.integer("n_layer", fields.get("num_hidden_layers"))
    heads = fields.integer("n_head", fields.get("num_attention_heads"))
    options = {
        "position": "alibi",
        "vocabulary_size": fields.integer("vocab_size"),
        "width": width,
        "layers": layers,
        "heads": heads,
        "feed_forward": "gelu_tanh",
        "feed_forward_width": 4 * width,
        "norm": "layer",
        "norm_epsilon": fields.number("layer_norm_epsilon", 1e-5),
        "embedding_norm": True,
        "biases": True,
        "qk_norm": False,
        "tied_embeddings": fields.flag("tie_word_embeddings", True),
        "trained_length": fields.integer("seq_length", TRAINED_LENGTH),
    }
    return Imported(options, WEIGHTS, longest=LONGEST)
