"""Qwen3: RMSNorm, QK-norm, SwiGLU, rotary, sliding windows of one size; the default model."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from wordorder.interop.architecture import Architecture
from wordorder.model import LanguageModel

from . import rms_decoder

MODEL_TYPE = "qwen3"


def configuration(architecture: Architecture) -> dict[str, Any]:
    """Return the fields of config.json that this class reads."""
    sliding = rms_decoder.windows(architecture)
    last = architecture.config.layers if sliding["use_sliding_window"] else 0
    return {**rms_decoder.settings(architecture), **sliding, "max_window_layers": last}


def weights(model: LanguageModel) -> dict[str, Tensor]:
    """Return the weights under this class's names."""
    return rms_decoder.weights(model)
