"""Golovneva et al. 2024, equations 3 to 9, scaled as in their appendix B."""

import math


def product(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def position(q, keys, i, j, most):
    """Equations 3 and 4: of the query i's vector q and its keys, from key j up to itself."""
    gates = [1 / (1 + math.exp(-product(q, keys[k]) / math.sqrt(len(q)))) for k in range(j, i + 1)]
    return min(math.fsum(gates), most)


def score(q, keys, embeddings, i, j):
    """Equations 7 to 9; `embeddings` are those of the integers 0, 1, ..., most."""
    p = position(q, keys, i, j, len(embeddings) - 1)
    low, high = math.floor(p), math.ceil(p)
    z = (p - low) * product(q, embeddings[high]) + (1 - p + low) * product(q, embeddings[low])
    return product(q, keys[j]) / math.sqrt(len(q)) + z
