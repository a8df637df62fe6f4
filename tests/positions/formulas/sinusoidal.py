"""Vaswani et al. 2017, section 3.5."""

import math


def embedding(position, width, base):
    """PE(pos, 2i) is a sine, PE(pos, 2i + 1) the cosine of the same angle."""
    numbers = []
    for dimension in range(width):
        i = dimension // 2
        angle = position / math.pow(base, 2 * i / width)
        numbers.append(math.cos(angle) if dimension % 2 else math.sin(angle))
    return numbers
