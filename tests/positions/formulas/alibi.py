"""Press et al. 2022, section 3, and the authors' rule for other numbers of heads."""

import math


def slopes(heads):
    """2^(-8/n), 2^(-16/n), ...; past the largest power of two every other one of the next."""
    if math.log2(heads).is_integer():
        return [2.0 ** (-8.0 * (i + 1) / heads) for i in range(heads)]
    whole = 2 ** math.floor(math.log2(heads))
    return slopes(whole) + slopes(2 * whole)[0::2][: heads - whole]


def bias(heads, head, i, j):
    """Of query position i and key position j."""
    return -slopes(heads)[head] * abs(i - j)
