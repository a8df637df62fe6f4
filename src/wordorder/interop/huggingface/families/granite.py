"""Granite: Llama with multipliers, which are folded into the weights that they multiply."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wordorder.interop.huggingface.fields import Fields, Imported
from wordorder.interop.huggingface.rope_fields import RotarySettings, read_rotary
from wordorder.interop.weights import WeightMap

from . import llama, rms_decoder


def imported(fields: Fields) -> Imported:
    """Return the architecture of a config.json."""
    rotary = read_rotary(fields, rms_decoder.head_dim(fields))
    return Imported(*multiplied(fields, rotary, rms_decoder.WEIGHTS))


def multiplied(
    fields: Fields, rotary: RotarySettings, weights: WeightMap, *, is_tied: bool = False
) -> tuple[dict[str, Any], WeightMap]:
    """Return the options of ModelConfig, and the weights with the multipliers of a config.json.

    Args:
        is_tied: whether the class ties its output layer where the file does not say so.
    """
    without, biases = llama.without_biases(fields)
    weights = replace(
        weights,
        without_biases=without,
        # Scores are multiplied by it instead of 1/sqrt(head_dim).
        query_factor=rotary.score_factor
        * fields.number("attention_multiplier", 1.0)
        * rms_decoder.head_dim(fields) ** 0.5,
        branch_factor=fields.number("residual_multiplier", 1.0),
        output_factor=1 / fields.number("logits_scaling", 1.0),
    )
    options = {
        **rms_decoder.options(fields, rotary, biases=biases, is_tied=is_tied),
        "embedding_scale": fields.number("embedding_multiplier", 1.0),
    }
    return options, weights
