"""Lin et al. 2025, section 3: weights are exp(q . k / sqrt(d)) times all gates after the key."""

import math


def gate(weights, bias, x):
    """f_t = sigmoid(w . x_t + b), of one head."""
    return 1 / (1 + math.exp(-sum(w * a for w, a in zip(weights, x, strict=True)) - bias))


def bias(gates, i, j):
    """The logarithm of F_ij, the product of f_l over j < l <= i."""
    product = 1.0
    for f in gates[j + 1 : i + 1]:
        product *= f
    return math.log(product)
