"""No positional embedding (NoPE): `Position` with no hook overridden.

A bidirectional transformer without a positional embedding is permutation-equivariant. A causal
one still sees order through its mask, from its second layer on.
"""

from .base import Position


class NoPosition(Position):
    """No positional embedding; a causal model still sees order through its mask.

    Source: Haviv et al. 2022; Kazemnejad et al. 2023 (NoPE).
    """

    tells_order = False
    summary = "Nothing is added; order reaches a causal model through its mask alone."
    source = "Haviv et al. 2022; Kazemnejad et al. 2023"
    formula = "score(i, j) = q_i · k_j / √head_dim,   j ≤ i in a causal model"
    traps = (
        "A bidirectional model without positions treats its input as a bag of words.",
        "A causal model ignores the order of past tokens in its first layer only: from then on, "
        "order leaks through the mask, and through sliding windows, convolutions and token shifts.",
    )
