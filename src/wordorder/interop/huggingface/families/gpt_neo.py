"""GPT-Neo (TinyStories): GPT-2 with windows in every other layer, and scores that are not scaled.

Not here: exports, which go to GPT-2 or to a modelling file.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wordorder.interop.huggingface.fields import Fields, Imported, pattern

from . import gpt2

KINDS = GLOBAL, LOCAL = "global", "local"
WEIGHTS = replace(
    gpt2.WEIGHTS,
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
    joined=None,
    is_transposed=False,
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
        **gpt2.common_options(fields, rows),
        "width": width,
        "layers": layers,
        "heads": heads,
        "windows": tuple(pattern([window if kind == LOCAL else 0 for kind in kinds])),
        "feed_forward_width": fields.integer("intermediate_size", 4 * width),
    }
    # wordorder divides scores by the square root of head_dim.
    return Imported(options, replace(WEIGHTS, query_factor=(width / heads) ** 0.5))


def _kinds(fields: Fields, layers: int) -> list[str]:
    """Return whether each layer is global or local.

    The class writes `attention_layers`. Older files have only `attention_types`: patterns, each
    with its number of repetitions.
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
