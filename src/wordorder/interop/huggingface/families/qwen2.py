"""Qwen2: Llama with biases on queries, keys and values, and sliding windows in the last layers."""

from __future__ import annotations

from dataclasses import replace

from wordorder.interop.huggingface.fields import Fields, Imported
from wordorder.interop.huggingface.rope_fields import read_rotary

from . import rms_decoder


def imported(fields: Fields) -> Imported:
    """Return the architecture of a config.json.

    wordorder's model has biases everywhere or nowhere: those that the class lacks are zeros.
    """
    rotary = read_rotary(fields, rms_decoder.head_dim(fields))
    fields.fixed(use_mrope=False)
    options = {
        **rms_decoder.options(fields, rotary, biases=True),
        "windows": rms_decoder.read_windows(fields, fields.get("max_window_layers", 28)),
    }
    weights = replace(
        rms_decoder.WEIGHTS,
        without_biases=("attention.output", *rms_decoder.FEED_FORWARD),
        query_factor=rotary.score_factor,
    )
    return Imported(options, weights)
