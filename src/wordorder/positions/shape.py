"""What a positional embedding knows of the model around it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelShape:
    """What an embedding knows of the model around it.

    Args:
        heads: attention heads.
        head_dim: width of one head.
        width: width of the residual stream; `heads * head_dim` if not given.
        layers: number of layers.
        trained_length: tokens in one training sequence.
        causal: whether the future is hidden.
        word_std: standard deviation of the entries of word vectors at the first step, their
            multiplier included; 0.02 is GPT-2's, which multiplies by nothing.
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
