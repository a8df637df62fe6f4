"""OPT: GPT-2 with ReLU, three projections, and a table of positions whose first rows are unused."""

from __future__ import annotations

from typing import Any

from wordorder.interop.huggingface.fields import Fields, Imported
from wordorder.interop.weights import ACTIVATIONS, WeightMap

OFFSET = 2  # rows of its table that the class skips
WEIGHTS = WeightMap(
    table="model.decoder.embed_tokens",
    head="lm_head",
    norm="model.decoder.final_layer_norm",
    positions="model.decoder.embed_positions",
    offset=OFFSET,
    layer="model.decoder.layers.{}.",
    names={
        "attention_norm": "self_attn_layer_norm",
        "attention.query": "self_attn.q_proj",
        "attention.key": "self_attn.k_proj",
        "attention.value": "self_attn.v_proj",
        "attention.output": "self_attn.out_proj",
        "feed_forward_norm": "final_layer_norm",
        "feed_forward.up": "fc1",
        "feed_forward.down": "fc2",
    },
    has_biases=True,
)
FUNCTIONS = {theirs: ours for ours, theirs in ACTIVATIONS.items()}


def imported(fields: Fields) -> Imported:
    """Return the architecture of a config.json."""
    width, rows = fields.integer("hidden_size"), fields.integer("max_position_embeddings")
    fields.fixed(
        do_layer_norm_before=True,
        _remove_final_layer_norm=False,
        word_embed_proj_dim=width,
        enable_bias=True,
        layer_norm_elementwise_affine=True,
        prefix="</s>",  # what generation puts first
    )
    options: dict[str, Any] = {
        "position": f"learned:length={rows}",
        "vocabulary_size": fields.integer("vocab_size"),
        "width": width,
        "layers": fields.integer("num_hidden_layers"),
        "heads": fields.integer("num_attention_heads"),
        "feed_forward": fields.choice("activation_function", FUNCTIONS, "relu"),
        "feed_forward_width": fields.integer("ffn_dim"),
        "norm": "layer",
        "norm_epsilon": 1e-5,  # of PyTorch, which the class leaves as it is
        "biases": True,
        "qk_norm": False,
        "tied_embeddings": fields.flag("tie_word_embeddings", True),
        "trained_length": rows,
    }
    return Imported(options, WEIGHTS)
