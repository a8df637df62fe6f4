"""SmolLM3: Llama with any pattern of rotary and position-free layers, and sliding windows."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from wordorder.interop.architecture import Architecture
from wordorder.model import LanguageModel

from . import rms_decoder

MODEL_TYPE = "smollm3"


def configuration(architecture: Architecture) -> dict[str, Any]:
    """Return the fields of config.json that this class reads."""
    layers = range(architecture.config.layers)
    return {
        **rms_decoder.settings(architecture),
        **rms_decoder.windows(architecture),
        "mlp_bias": architecture.config.biases,
        "no_rope_layers": [int(architecture.rotary(i) is not None) for i in layers],
    }


def weights(model: LanguageModel) -> dict[str, Tensor]:
    """Return the weights under this class's names."""
    return rms_decoder.weights(model)
