"""Llama: RMSNorm, SwiGLU, rotary with every scaling, no QK-norm."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wordorder.interop.architecture import Architecture
from wordorder.interop.huggingface.fields import Fields, Imported
from wordorder.interop.huggingface.rope_fields import read_rotary
from wordorder.interop.weights import WeightMap

from . import rms_decoder

MODEL_TYPE = "llama"


def configuration(architecture: Architecture) -> dict[str, Any]:
    """Return the fields of config.json that this class reads."""
    return {**rms_decoder.settings(architecture), "mlp_bias": architecture.config.biases}


def imported(fields: Fields) -> Imported:
    """Return the architecture of a config.json."""
    rotary = read_rotary(fields, rms_decoder.head_dim(fields))
    weights, biases = with_biases(fields)
    options = rms_decoder.options(fields, rotary, biases=biases)
    return Imported(options, replace(weights, query_factor=rotary.score_factor))


def with_biases(fields: Fields) -> tuple[WeightMap, bool]:
    """Return the weights with biases where a config.json has them, and whether it has any."""
    without, has_biases = without_biases(fields)
    return replace(rms_decoder.WEIGHTS, without_biases=without), has_biases


def without_biases(fields: Fields) -> tuple[tuple[str, ...], bool]:
    """Return the modules without biases in a config.json, and whether it has any biases."""
    in_attention = fields.flag("attention_bias", False)
    in_feed_forward = fields.flag("mlp_bias", False)
    attention = () if in_attention else rms_decoder.ATTENTION
    feed_forward = () if in_feed_forward else rms_decoder.FEED_FORWARD
    return (*attention, *feed_forward), in_attention or in_feed_forward
