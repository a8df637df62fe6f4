"""GraniteSWA: Llama with multipliers, sliding windows, and a base of rotary or none by layer.

Each head has a sink: a score of no key, which takes a share of its attention. Exports write sinks
so low that they take nothing. wordorder's models have none, so the class is not imported.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wordorder.interop.architecture import Architecture
from wordorder.interop.huggingface.rotary import rope_parameters
from wordorder.model import LanguageModel

from . import rms_decoder

MODEL_TYPE = "granite_swa"
NO_SINK = -1e9


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


def weights(model: LanguageModel) -> dict[str, Tensor]:
    """Return the weights of a model under the class's names."""
    named = rms_decoder.WEIGHTS.write(model)
    for i in range(model.config.layers):
        sinks = torch.full((model.config.heads,), NO_SINK)
        named[f"model.layers.{i}.self_attn.sinks"] = sinks
    return named
