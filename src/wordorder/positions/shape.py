"""The sizes of a model that its positional embedding depends on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a model that its positional embedding depends on.

    Args:
        heads: query heads.
        head_dim: width of one head.
        width: width of the residual stream; 0: `heads * head_dim`.
        layers: number of layers.
        trained_length: tokens in one training sequence.
        causal: whether queries attend only to keys at or before their own index.
        word_std: standard deviation of word vectors at initialisation, after their
            multiplier; 0.02 is GPT-2's, which has no multiplier.
    """

    heads: int
    head_dim: int
    width: int = 0
    layers: int = 1
    trained_length: int = 1024
    causal: bool = True
    word_std: float = 0.02

    def __post_init__(self) -> None:
        if not self.width:
            object.__setattr__(self, "width", self.heads * self.head_dim)
