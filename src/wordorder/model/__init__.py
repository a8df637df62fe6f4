"""Small language models: a transformer with any positional embedding, and a GRU.

Names are imported when first used, so that `ModelConfig` does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .config import PRESETS, ModelConfig

if TYPE_CHECKING:
    from .context import AttentionRecord, Recorder, ResidualStream
    from .language_model import LanguageModel
    from .recurrent import RecurrentLanguageModel
    from .token_model import TokenModel, evaluating

_HOME = {
    "AttentionRecord": "context",
    "LanguageModel": "language_model",
    "Recorder": "context",
    "ResidualStream": "context",
    "RecurrentLanguageModel": "recurrent",
    "TokenModel": "token_model",
    "evaluating": "token_model",
}


def make_model(config: ModelConfig) -> TokenModel:
    """Return a model with a configuration; call its `initialise` before training."""
    from .language_model import LanguageModel
    from .recurrent import RecurrentLanguageModel

    return (RecurrentLanguageModel if config.kind == "gru" else LanguageModel)(config)


def shape_of(config: ModelConfig) -> TokenModel:
    """Return a model on the meta device: parameters have names and shapes, but no values."""
    import torch

    with torch.device("meta"):
        return make_model(config)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


__all__ = [
    "PRESETS",
    "AttentionRecord",
    "LanguageModel",
    "ModelConfig",
    "Recorder",
    "RecurrentLanguageModel",
    "ResidualStream",
    "TokenModel",
    "evaluating",
    "make_model",
    "shape_of",
]
