"""Tan et al. 2024, section 2: b_ij times the product of 1 - b_ik over the keys between."""

import math


def weights(scores, own=False):
    """The weights of one query's row of scores, its own the last."""
    shares = [1 / (1 + math.exp(-z)) for z in scores]
    if not own:
        shares[-1] = 0.0
    result = []
    for j, share in enumerate(shares):
        weight = share
        for k in range(j + 1, len(shares)):
            weight *= 1 - shares[k]
        result.append(weight)
    return result
