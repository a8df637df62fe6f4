"""He et al. 2020, section 3.1: equation 3 gives delta, equation 4 the three terms of A."""

import math


def delta(i, j, k):
    if i - j <= -k:
        return 0
    if i - j >= k:
        return 2 * k - 1
    return i - j + k


def vector(projection, row):
    """One row of P times a projection of one head: head_dim rows of width numbers."""
    return [sum(w * p for w, p in zip(weights, row, strict=True)) for weights in projection]


def score(query, key, table, key_projection, query_projection, i, j):
    """A(i, j) / sqrt(3 d); `table` is P, of 2k rows."""
    k = len(table) // 2
    from_query = vector(key_projection, table[delta(i, j, k)])
    from_key = vector(query_projection, table[delta(j, i, k)])
    total = 0.0
    for d in range(len(query)):
        total += query[d] * key[d] + query[d] * from_query[d] + key[d] * from_key[d]
    return total / math.sqrt(3 * len(query))
