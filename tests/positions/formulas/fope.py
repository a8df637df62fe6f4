"""Hua et al. 2024, section 4: cosines and sines of a pair are sums over all that turn."""

import math


def frequencies(head_dim, base, period):
    """base^(-2i/d), of those that turn at least once within the period."""
    every = [base ** (-2 * i / head_dim) for i in range(head_dim // 2)]
    return [f for f in every if f * period >= 2 * math.pi]


def mixed(vector, p, cosines, sines, turning):
    """A vector at position p: interleaved pairs times (c, s), the rest unchanged."""
    result = list(vector)
    for i, _ in enumerate(turning):
        c = sum(w * math.cos(p * f) for w, f in zip(cosines[i], turning, strict=True))
        s = sum(w * math.sin(p * f) for w, f in zip(sines[i], turning, strict=True))
        a, b = vector[2 * i], vector[2 * i + 1]
        result[2 * i], result[2 * i + 1] = a * c - b * s, a * s + b * c
    return result
