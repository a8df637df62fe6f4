"""Mistral: Llama with one sliding window in every layer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wordorder.interop.architecture import Architecture
from wordorder.interop.huggingface.fields import Fields, Imported
from wordorder.interop.huggingface.rope_fields import read_rotary

from . import rms_decoder

MODEL_TYPE = "mistral"


def configuration(architecture: Architecture) -> dict[str, Any]:
    """Return the fields of config.json that this class reads."""
    window = max(architecture.window_sizes, default=None)
    return {**rms_decoder.settings(architecture), "sliding_window": window}


def imported(fields: Fields) -> Imported:
    """Return the architecture of a config.json."""
    rotary = read_rotary(fields, rms_decoder.head_dim(fields))
    # Null means no window; a file without the field has the class's default.
    window = fields.get("sliding_window", None if "sliding_window" in fields.values else 4096)
    options = {
        **rms_decoder.options(fields, rotary, biases=False),
        "key_value_heads": fields.integer("num_key_value_heads", 8),
        "windows": () if window is None else (fields.integer("sliding_window", window),),
    }
    return Imported(options, replace(rms_decoder.WEIGHTS, query_factor=rotary.score_factor))
