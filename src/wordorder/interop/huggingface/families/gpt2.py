"""GPT-2: LayerNorm and a table of positions, learned or filled with sines."""

from __future__ import annotations

from typing import Any

from wordorder.interop.architecture import Architecture
from wordorder.interop.huggingface.fields import Fields, Imported
from wordorder.interop.weights import ACTIVATIONS, WeightMap, activation, table_length

MODEL_TYPE = "gpt2"
WEIGHTS = WeightMap(
    table="transformer.wte",
    head="lm_head",
    norm="transformer.ln_f",
    positions="transformer.wpe",
    layer="transformer.h.{}.",
    names={
        "attention_norm": "ln_1",
        "joined": "attn.c_attn",
        "attention.output": "attn.c_proj",
        "feed_forward_norm": "ln_2",
        "feed_forward.up": "mlp.c_fc",
        "feed_forward.down": "mlp.c_proj",
    },
    joined="parts",
    is_transposed=True,  # its linear layers, Conv1D, hold their matrices transposed
    has_biases=True,
)
# transformers' own GPT-2 computes GELU by the tanh formula, under another name.
FUNCTIONS = {theirs: ours for ours, theirs in ACTIVATIONS.items()} | {"gelu_new": "gelu_tanh"}


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


def imported(fields: Fields) -> Imported:
    """Return the architecture of a config.json."""
    width, rows = fields.integer("n_embd"), fields.integer("n_positions", 1024)
    fields.fixed(
        n_ctx=rows,
        scale_attn_weights=True,
        scale_attn_by_inverse_layer_idx=False,
        add_cross_attention=False,
    )
    fields.get("reorder_and_upcast_attn")  # the precision of half-precision attention
    options = {
        **common_options(fields, rows),
        "width": width,
        "layers": fields.integer("n_layer"),
        "heads": fields.integer("n_head"),
        "feed_forward_width": fields.integer("n_inner", 4 * width),
    }
    return Imported(options, WEIGHTS)


def common_options(fields: Fields, rows: int) -> dict[str, Any]:
    """Return the options that GPT-2 and GPT-Neo read from the same fields.

    Args:
        rows: of the table of positions.
    """
    return {
        "position": f"learned:length={rows}",
        "vocabulary_size": fields.integer("vocab_size"),
        "feed_forward": fields.choice("activation_function", FUNCTIONS, "gelu_new"),
        "norm": "layer",
        "norm_epsilon": fields.number("layer_norm_epsilon", 1e-5),
        "biases": True,
        "qk_norm": False,
        "tied_embeddings": fields.flag("tie_word_embeddings", True),
        "trained_length": rows,
    }
