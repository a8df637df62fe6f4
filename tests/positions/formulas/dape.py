"""Zheng et al. 2024, equations 2 and 3, the network across heads of their appendix J."""

import math


def alibi(heads, head, distance):
    """-m * distance: m is 2^(-8/n), 2^(-16/n), ...; other head counts fill up from 2n's list."""
    whole = 2 ** int(math.log2(heads))
    if head < whole:
        return -(2.0 ** (-8.0 * (head + 1) / whole)) * abs(distance)
    return -(2.0 ** (-4.0 * (2 * (head - whole) + 1) / whole)) * abs(distance)


def kerple(r1, r2, distance):
    return -r1 * math.log(1 + r2 * abs(distance))


def network(inputs, first, first_constant, second, second_constant):
    """Linear, LeakyReLU with slope 0.01, linear."""
    hidden = []
    for row, constant in zip(first, first_constant, strict=True):
        value = sum(w * x for w, x in zip(row, inputs, strict=True)) + constant
        hidden.append(value if value > 0 else 0.01 * value)
    return [
        sum(w * x for w, x in zip(row, hidden, strict=True)) + constant
        for row, constant in zip(second, second_constant, strict=True)
    ]


def score(products, biases, weights, head, residual):
    """Of one pair: all heads' scaled products, and biases (or none at all)."""
    added = network([*products, *biases], *weights)[head]
    return products[head] + added + (biases[head] if biases and residual else 0.0)
