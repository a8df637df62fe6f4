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
    formula = "score(i, j) = q_i · k_j / √head_dim,   j ≤ i in a causal model"
    traps = (
        "A bidirectional model without positions reads a bag of words.",
        "A causal one is blind to the order of what came before in its first layer only: "
        "positions leak through the mask, through sliding windows, convolutions and token shifts.",
    )
