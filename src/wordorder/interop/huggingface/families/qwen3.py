"""Qwen3: RMSNorm, QK-norm, SwiGLU, rotary, sliding windows of one size; the default model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wordorder.interop.architecture import Architecture
from wordorder.interop.huggingface.fields import Fields, Imported
from wordorder.interop.huggingface.rope_fields import read_rotary

from . import rms_decoder

MODEL_TYPE = "qwen3"


def configuration(architecture: Architecture) -> dict[str, Any]:
    """Return the fields of config.json that this class reads."""
    sliding = rms_decoder.windows(architecture)
    last = architecture.config.layers if sliding["use_sliding_window"] else 0
    return {**rms_decoder.settings(architecture), **sliding, "max_window_layers": last}


def imported(fields: Fields) -> Imported:
    """Return the architecture of a config.json."""
    rotary = read_rotary(fields, fields.integer("head_dim", 128))
    fields.fixed(attention_bias=False)
    weights = replace(rms_decoder.WEIGHTS, query_factor=rotary.score_factor)
    options = {
        **rms_decoder.options(fields, rotary, biases=False),
        "head_dim": fields.integer("head_dim", 128),
        "qk_norm": True,
        "windows": rms_decoder.read_windows(fields, fields.get("max_window_layers", 28)),
    }
    return Imported(options, weights)
