"""No positional embedding (NoPE): the base behaviour itself.

A bidirectional transformer without one is permutation-equivariant. A causal one still
sees order, through its mask, from its second layer on.
"""

from .base import Position


class NoPosition(Position):
    """No positional embedding: a causal model still sees order through its mask.

    Source: Haviv et al. 2022; Kazemnejad et al. 2023 (NoPE).
    """

    summary = "Nothing is added; order reaches a causal model through its mask alone."
    source = "Haviv et al. 2022; Kazemnejad et al. 2023"
