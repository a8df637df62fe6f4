"""GraniteSWA: Granite with sliding windows, attention sinks, and a base of rotary or none by layer.

A model without sinks is written with sinks so low that they take no attention.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wordorder.errors import BadInput
from wordorder.interop.architecture import Architecture
from wordorder.interop.huggingface.fields import Fields, Imported, pattern
from wordorder.interop.huggingface.rope_fields import (
    RotarySettings,
    rope_settings_of,
    rotary_spec,
)
from wordorder.interop.huggingface.rotary import rope_parameters

from . import granite, rms_decoder
from .layer_kinds import FULL, SLIDING

MODEL_TYPE = "granite_swa"


WEIGHTS = replace(
    rms_decoder.WEIGHTS,
    names={**rms_decoder.WEIGHTS.names, "attention": "self_attn"},
    has_sinks=True,
)


def configuration(architecture: Architecture) -> dict[str, Any]:
    """Return the fields of config.json that this class reads."""
    config = architecture.config
    windows = rms_decoder.windows(architecture)
    rotaries = [architecture.rotary(i) for i in range(config.layers)]
    return {
        **rms_decoder.settings(architecture),
        "sliding_window": windows["sliding_window"] or config.trained_length,
        "layer_types": windows["layer_types"],
        "mlp_bias": config.biases,
        "layer_rope_theta": [rope_parameters(r)["rope_theta"] if r else 0 for r in rotaries],
        "attention_multiplier": config.head_dim**-0.5,
        "embedding_multiplier": 1.0,
        "residual_multiplier": 1.0,
        "logits_scaling": 1.0,
    }


def imported(fields: Fields) -> Imported:
    """Return the architecture of a config.json."""
    layers = fields.integer("num_hidden_layers")
    spec, rotary = _positions(fields, layers)
    kinds = fields.sequence("layer_types", layers, rms_decoder.KINDS)
    if kinds is None:
        kinds = [SLIDING if i % 4 else FULL for i in range(layers)]
    window = fields.integer("sliding_window", 128)
    options, weights = granite.multiplied(fields, rotary, WEIGHTS, is_tied=True)
    options |= {
        "position": spec,
        "attention_sinks": True,
        "windows": tuple(pattern([window if kind == SLIDING else 0 for kind in kinds])),
        "key_value_heads": fields.integer("num_key_value_heads", 4),
    }
    return Imported(options, weights)


def _positions(fields: Fields, layers: int) -> tuple[str, RotarySettings]:
    """Return the spec of the positions, and the rotary settings of the layers that have some.

    Raises:
        BadInput: a list that is not one of bases, or an attention factor of some layers alone.
    """
    head_dim, length = rms_decoder.head_dim(fields), fields.integer("max_position_embeddings")
    settings = rope_settings_of(fields, base=10_000.0)
    where = f"the rotary settings in {fields.where}"
    bases = fields.get("layer_rope_theta", [settings["rope_theta"]] * layers)
    is_list = isinstance(bases, list) and len(bases) == layers
    if not is_list or any(type(base) not in (int, float) or base < 0 for base in bases):
        raise BadInput(
            f"{fields.where}: layer_rope_theta must be a list of {layers} numbers, a base or 0 for "
            "each layer: restore the file",
            code="interop.bases-of-layers",
        )
    of_base = {
        base: rotary_spec({**settings, "rope_theta": base}, where, head_dim, length)
        for base in dict.fromkeys(base for base in bases if base)
    }
    rotary = next(iter(of_base.values()), RotarySettings("none", length))
    if rotary.score_factor != 1 and 0 in bases:  # queries of other layers have another factor
        raise BadInput(
            f"{fields.where}: attention_factor cannot be imported beside layers without rotary: it "
            "must be the usual one of its rope_type",
            code="interop.attention-factor-by-layer",
        )
    specs = [of_base[base].spec if base else "none" for base in bases]
    return "/".join(pattern(specs)), rotary
