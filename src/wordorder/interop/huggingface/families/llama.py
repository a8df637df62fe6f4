"""Llama: RMSNorm, SwiGLU, rotary with every scaling, no QK-norm."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from wordorder.interop.architecture import Architecture
from wordorder.model import LanguageModel

from . import rms_decoder

MODEL_TYPE = "llama"


def configuration(architecture: Architecture) -> dict[str, Any]:
    """Return the fields of config.json that this class reads."""
    return {**rms_decoder.settings(architecture), "mlp_bias": architecture.config.biases}


def weights(model: LanguageModel) -> dict[str, Tensor]:
    """Return the weights under this class's names."""
    return rms_decoder.weights(model)
