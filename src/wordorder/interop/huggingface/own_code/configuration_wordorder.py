"""The configuration of a wordorder model in transformers: config.json with the model's own fields.

Names that transformers expects, such as `hidden_size`, are other names of the same fields.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from transformers import PretrainedConfig

from wordorder.model.config import ModelConfig


class WordorderConfig(PretrainedConfig):
    """Fields of `ModelConfig`, and transformers' own such as `eos_token_id`.

    Args:
        settings: fields by either name; those left out have the defaults of `ModelConfig`.
    """

    model_type = "wordorder"
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012 (transformers' declaration)
    attribute_map = {  # noqa: RUF012
        "vocab_size": "vocabulary_size",
        "hidden_size": "width",
        "intermediate_size": "feed_forward_width",
        "num_hidden_layers": "layers",
        "num_attention_heads": "heads",
        "num_key_value_heads": "key_value_heads",
        "max_position_embeddings": "trained_length",
        "tie_word_embeddings": "tied_embeddings",
    }

    def __init__(self, **settings: Any) -> None:
        settings = {self.attribute_map.get(name, name): value for name, value in settings.items()}
        known = [field.name for field in fields(ModelConfig)]
        model = ModelConfig(**{name: settings.pop(name) for name in known if name in settings})
        for name in known:
            setattr(self, name, getattr(model, name))
        super().__init__(tie_word_embeddings=model.tied_embeddings, **settings)

    def model_config(self) -> ModelConfig:
        """Return the configuration that the model is built from."""
        values = {field.name: getattr(self, field.name) for field in fields(ModelConfig)}
        return ModelConfig(**{**values, "windows": tuple(self.windows)})  # a list in JSON
