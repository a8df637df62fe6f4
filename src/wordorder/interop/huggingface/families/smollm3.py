"""SmolLM3: Llama with any pattern of rotary and position-free layers, and sliding windows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wordorder.interop.architecture import Architecture
from wordorder.interop.huggingface.fields import Fields, Imported, pattern
from wordorder.interop.huggingface.rope_fields import read_rotary

from . import llama, rms_decoder

MODEL_TYPE = "smollm3"


def configuration(architecture: Architecture) -> dict[str, Any]:
    """Return the fields of config.json that this class reads."""
    layers = range(architecture.config.layers)
    return {
        **rms_decoder.settings(architecture),
        **rms_decoder.windows(architecture),
        "mlp_bias": architecture.config.biases,
        "no_rope_layers": [int(architecture.rotary(i) is not None) for i in layers],
    }


def imported(fields: Fields) -> Imported:
    """Return the architecture of a config.json."""
    layers = fields.integer("num_hidden_layers")
    rotary = read_rotary(fields, rms_decoder.head_dim(fields), base=2_000_000.0)
    every = fields.integer("no_rope_layer_interval", 4)
    turned = fields.sequence("no_rope_layers", layers, (0, 1))
    if turned is None:
        turned = [int((i + 1) % every != 0) for i in range(layers)]
    weights, biases = llama.with_biases(fields)
    options = {
        **rms_decoder.options(fields, rotary, biases=biases, is_tied=True),
        "position": "/".join(pattern([rotary.spec if turns else "none" for turns in turned])),
        "windows": rms_decoder.read_windows(fields),
    }
    return Imported(options, replace(weights, query_factor=rotary.score_factor))
