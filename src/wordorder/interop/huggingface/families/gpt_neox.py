"""GPT-NeoX (Pythia): LayerNorm, rotary on a part of each head, parallel residual or not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wordorder.interop.architecture import Architecture
from wordorder.interop.huggingface.fields import Fields, Imported
from wordorder.interop.huggingface.rope_fields import read_rotary
from wordorder.interop.huggingface.rotary import max_position_embeddings, rope_settings
from wordorder.interop.weights import ACTIVATIONS, WeightMap, activation

MODEL_TYPE = "gpt_neox"
WEIGHTS = WeightMap(
    table="gpt_neox.embed_in",
    # The name in files; newer versions of transformers call the module lm_head and rename it.
    head="embed_out",
    norm="gpt_neox.final_layer_norm",
    layer="gpt_neox.layers.{}.",
    names={
        "attention_norm": "input_layernorm",
        "joined": "attention.query_key_value",
        "attention.output": "attention.dense",
        "feed_forward_norm": "post_attention_layernorm",
        "feed_forward.up": "mlp.dense_h_to_4h",
        "feed_forward.down": "mlp.dense_4h_to_h",
    },
    joined="heads",
    has_biases=True,
)
FUNCTIONS = {theirs: ours for ours, theirs in ACTIVATIONS.items()} | {
    "gelu_fast": "gelu_tanh",
    "gelu_new": "gelu_tanh",
}


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


def imported(fields: Fields) -> Imported:
    """Return the architecture of a config.json."""
    width, heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
    base = fields.number("rotary_emb_base", 10_000.0)
    fraction = fields.number("rotary_pct", 0.25)
    rotary = read_rotary(fields, width // heads, base=base, fraction=fraction)
    fields.fixed(is_decoder=False)
    without = () if fields.flag("attention_bias", True) else ("joined", "attention.output")
    options = {
        "position": rotary.spec,
        "vocabulary_size": fields.integer("vocab_size"),
        "width": width,
        "layers": fields.integer("num_hidden_layers"),
        "heads": heads,
        "feed_forward": fields.choice("hidden_act", FUNCTIONS, "gelu"),
        "feed_forward_width": fields.integer("intermediate_size"),
        "norm": "layer",
        "norm_epsilon": fields.number("layer_norm_eps", 1e-5),
        "biases": True,
        "parallel_residual": fields.flag("use_parallel_residual", True),
        "qk_norm": False,
        "tied_embeddings": fields.flag("tie_word_embeddings", False),
        "trained_length": rotary.trained_length,
    }
    weights = replace(WEIGHTS, without_biases=without, query_factor=rotary.score_factor)
    return Imported(options, weights)
