"""Dai et al. 2019, section 3.3: the four terms of A_rel(i, j), over the square root of d."""

import math


def encoding(distance, width):
    """R of a distance: sines of all frequencies, then cosines (Vaswani et al. 2017)."""
    angles = [distance / math.pow(10000, 2 * n / width) for n in range(width // 2)]
    return [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]


def dot(a, b):
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def score(query, key, projection, u, v, i, j):
    """`projection` is W_kR of one head: head_dim rows of width numbers."""
    place = encoding(i - j, len(projection[0]))
    projected = [dot(row, place) for row in projection]
    terms = [dot(query, key), dot(query, projected), dot(u, key), dot(v, projected)]
    return sum(terms) / math.sqrt(len(query))
