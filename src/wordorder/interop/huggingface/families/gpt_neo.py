"""GPT-Neo (TinyStories): GPT-2 with windows in every other layer, and scores that are not scaled.

Not here: exports, which go to GPT-2 or to a modelling file.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wordorder.interop.huggingface.fields import Fields, Imported, pattern
from wordorder.interop.weights import WeightMap

from .gpt2 import FUNCTIONS

KINDS = GLOBAL, LOCAL = "global", "local"
WEIGHTS = WeightMap(
    table="transformer.wte",
    head="lm_head",
    norm="transformer.ln_f",
    positions="transformer.wpe",
    layer="transformer.h.{}.",
    names={
        "attention_norm": "ln_1",
        "attention.query": "attn.attention.q_proj",
        "attention.key": "attn.attention.k_proj",
        "attention.value": "attn.attention.v_proj",
        "attention.output": "attn.attention.out_proj",
        "feed_forward_norm": "ln_2",
        "feed_forward.up": "mlp.c_fc",
        "feed_forward.down": "mlp.c_proj",
    },
    has_biases=True,
    without_biases=("attention.query", "attention.key", "attention.value"),
)


def imported(fields: Fields) -> Imported:
    """Return the architecture of a config.json."""
    rows = fields.integer("max_position_embeddings", 2048)
    width, heads = fields.integer("hidden_size", 2048), fields.integer("num_heads", 16)
    layers = fields.integer("num_layers", 24)
    kinds = _kinds(fields, layers)
    window = fields.integer("window_size", 256)
    options: dict[str, Any] = {
        "position": f"learned:length={rows}",
        "vocabulary_size": fields.integer("vocab_size"),
        "width": width,
        "layers": layers,
        "heads": heads,
        "windows": tuple(pattern([window if kind == LOCAL else 0 for kind in kinds])),
        "feed_forward": fields.choice("activation_function", FUNCTIONS, "gelu_new"),
        "feed_forward_width": fields.integer("intermediate_size", 4 * width),
        "norm": "layer",
        "norm_epsilon": fields.number("layer_norm_epsilon", 1e-5),
        "biases": True,
        "qk_norm": False,
        "tied_embeddings": fields.flag("tie_word_embeddings", True),
        "trained_length": rows,
    }
    # wordorder divides scores by the square root of head_dim.
    return Imported(options, replace(WEIGHTS, query_factor=(width / heads) ** 0.5))


def _kinds(fields: Fields, layers: int) -> list[str]:
    """Return whether each layer is global or local.

    The class writes `attention_layers`, which older files lack: there a pattern, and how often it
    is repeated, stand in `attention_types`.
    """
    groups = fields.get("attention_types", [[[GLOBAL, LOCAL], layers // 2]])
    if kinds := fields.sequence("attention_layers", layers, KINDS):
        return kinds
    try:
        kinds = [kind for part, times in groups for kind in list(part) * min(times, layers)]
    except (TypeError, ValueError):
        kinds = []
    expanded = Fields({"attention_types": kinds}, fields.where)
    return expanded.sequence("attention_types", layers, KINDS) or []
