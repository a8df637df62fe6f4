"""Small language models that one can read in one sitting."""

from .config import PRESETS, ModelConfig
from .language_model import LanguageModel, TokenModel, evaluating
from .recurrent import RecurrentLanguageModel


def make_model(config: ModelConfig) -> TokenModel:
    """Return the model of a configuration, with its weights not yet initialised."""
    return (RecurrentLanguageModel if config.kind == "gru" else LanguageModel)(config)


__all__ = [
    "PRESETS",
    "LanguageModel",
    "ModelConfig",
    "RecurrentLanguageModel",
    "TokenModel",
    "evaluating",
    "make_model",
]
