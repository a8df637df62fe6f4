"""Li et al. 2025, RePo: positions from hidden states, and rotary at them."""

import math


def apply(matrix, vector):
    return [sum(m * v for m, v in zip(row, vector, strict=True)) for row in matrix]


def silu(number):
    return number / (1 + math.exp(-number))


def places(x, gate, content, out):
    """One number per head, from a token's hidden state."""
    opened = [silu(g) * c for g, c in zip(apply(gate, x), apply(content, x), strict=True)]
    return apply(out, opened)


def score(q, k, query_place, key_place, base):
    """The product of a query and a key rotated at their places, interleaved pairs."""
    d, total = len(q), 0.0
    for p in range(d // 2):
        angle = (query_place - key_place) * base ** (-2 * p / d)
        q1, q2, k1, k2 = q[2 * p], q[2 * p + 1], k[2 * p], k[2 * p + 1]
        total += (q1 * k1 + q2 * k2) * math.cos(angle) + (q1 * k2 - q2 * k1) * math.sin(angle)
    return total / math.sqrt(d)
