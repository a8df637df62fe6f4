"""A model's architecture as exporters see it: its configuration and each layer's embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wordorder.model import LanguageModel, ModelConfig
from wordorder.positions import (
    Alibi,
    Composed,
    Learned,
    Position,
    Rotary,
    Sinusoidal,
    TokenLayout,
    build,
)

# An embedding that overrides nothing else changes the positions of training, never inference.
TRAINING_HOOKS = frozenset({"sample_positions"})


@dataclass(frozen=True)
class Architecture:
    """What decides which class of another program holds a model.

    Args:
        config: the resolved configuration.
        composed: the positional embeddings of the model.
    """

    config: ModelConfig
    composed: Composed

    @classmethod
    def of(cls, model: LanguageModel) -> Architecture:
        """Return the architecture of a model."""
        return cls(model.config, model.position)

    @classmethod
    def from_config(cls, config: ModelConfig) -> Architecture:
        """Return the architecture of a transformer that does not exist yet."""
        return cls(config.resolved, build(config.position, config.shape))

    @property
    def layers(self) -> list[tuple[Position, ...]]:
        """The embeddings of each layer that act at inference; none for `none`."""
        return [
            tuple(p for p in layer.parts if p.active_hooks() - TRAINING_HOOKS)
            for layer in self.composed.sums
        ]

    def layers_have(self, *kinds: type[Position]) -> bool:
        """Return whether every layer has exactly one embedding, of one of these classes."""
        return all(len(layer) == 1 and type(layer[0]) in kinds for layer in self.layers)

    @property
    def is_position_free(self) -> bool:
        """Whether no layer has a positional embedding at inference."""
        return not any(self.layers)

    @property
    def is_absolute(self) -> bool:
        """Whether positions are vectors added to the word vectors, and nothing else."""
        kinds = (Learned, Sinusoidal)
        return all(layer and all(type(p) in kinds for p in layer) for layer in self.layers)

    @property
    def is_alibi(self) -> bool:
        """Whether every layer has ALiBi alone."""
        return self.layers_have(Alibi)

    def rotary(self, layer: int) -> Rotary | None:
        """Return the rotary embedding of a layer, or None if it has none."""
        return next((p for p in self.layers[layer] if isinstance(p, Rotary)), None)

    @property
    def rotaries(self) -> list[Rotary]:
        """The different rotary embeddings of all layers, each once."""
        by_options = {
            repr(rotary): rotary
            for layer in range(self.config.layers)
            if (rotary := self.rotary(layer)) is not None
        }
        return list(by_options.values())

    @property
    def window_sizes(self) -> set[int]:
        """The different sizes of sliding windows."""
        return {window for i in range(self.config.layers) if (window := self.config.window(i))}

    def position_table(self, length: int) -> Tensor:
        """Return what positions 0 to length - 1 add to word vectors, (length, width) float32."""
        alone = self.layers[0][0] if self.layers_have(Learned) else None
        if isinstance(alone, Learned) and not alone.rank:
            return alone.weight.detach()[:length]  # a model without values too, on meta
        zeros = torch.zeros(1, length, self.config.width)
        layout = TokenLayout.of(torch.arange(length)[None])
        with torch.no_grad():
            table: Tensor = self.composed.embed(zeros, layout)[0]
        return table
