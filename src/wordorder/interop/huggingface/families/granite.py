"""Granite: Llama with multipliers, which are folded into the weights that they multiply."""

from __future__ import annotations

from dataclasses import replace

from wordorder.interop.huggingface.fields import Fields, Imported
from wordorder.interop.huggingface.rope_fields import read_rotary

from . import llama, rms_decoder


def imported(fields: Fields) -> Imported:
    """Return the architecture of a config.json."""
    head_dim = rms_decoder.head_dim(fields)
    rotary = read_rotary(fields, head_dim)
    weights, biases = llama.with_biases(fields)
    weights = replace(
        weights,
        # Scores are multiplied by it instead of 1/sqrt(head_dim).
        query_factor=rotary.score_factor
        * fields.number("attention_multiplier", 1.0)
        * head_dim**0.5,
        branch_factor=fields.number("residual_multiplier", 1.0),
        output_factor=1 / fields.number("logits_scaling", 1.0),
    )
    options = {
        **rms_decoder.options(fields, rotary, biases=biases),
        "embedding_scale": fields.number("embedding_multiplier", 1.0),
    }
    return Imported(options, weights)
