"""The sizes of a model that its positional embedding depends on."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a model that its positional embedding depends on.

    Args:
        heads: query heads.
        head_dim: width of the part of a head that the embedding receives.
        width: width of the residual stream; 0: `heads * head_dim`.
        layers: number of layers.
        trained_length: tokens in one training sequence.
        causal: whether queries attend only to keys at or before their own index.
        word_std: standard deviation of word vectors at initialisation, after their
            multiplier; 0.02 is GPT-2's, which has no multiplier.
        decoupled_dim: width of the part of a head for embeddings that transform queries and
            keys (latent attention); 0: the whole head.
        score_dim: width of the dot product of a query and a key; 0: `head_dim`.
    """

    heads: int
    head_dim: int
    width: int = 0
    layers: int = 1
    trained_length: int = 1024
    causal: bool = True
    word_std: float = 0.02
    decoupled_dim: int = 0
    score_dim: int = 0

    def __post_init__(self) -> None:
        if not self.width:
            object.__setattr__(self, "width", self.heads * self.head_dim)
        if not self.score_dim:
            object.__setattr__(self, "score_dim", self.head_dim)

    @property
    def decoupled(self) -> ModelShape:
        """The shape for an embedding that transforms queries and keys."""
        if not self.decoupled_dim:
            return self
        return replace(self, head_dim=self.decoupled_dim, decoupled_dim=0)
