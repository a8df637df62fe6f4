"""Shaw et al. 2018, section 3: equation 4 gives a score, equation 3 an output.

`vectors` holds w_-k ... w_k in this order; i and j are the positions of query and key.
"""

import math


def relation(vectors, i, j):
    """a_ij: w of the distance from i to j, which stops at -k and at k."""
    k = (len(vectors) - 1) // 2
    distance = j - i
    if distance < -k:
        distance = -k
    if distance > k:
        distance = k
    return vectors[distance + k]


def score(query, key, vectors, i, j):
    """e_ij = x_i W_Q (x_j W_K + a_ij)^T / sqrt(d_z)."""
    total = 0.0
    for q, k, a in zip(query, key, relation(vectors, i, j), strict=True):
        total += q * (k + a)
    return total / math.sqrt(len(query))


def output(weights, values, vectors, positions, i):
    """z_i = sum over j of alpha_ij (x_j W_V + a_ij)."""
    result = [0.0] * len(values[0])
    for weight, value, j in zip(weights, values, positions, strict=True):
        for d, a in enumerate(relation(vectors, i, j)):
            result[d] += weight * (value[d] + a)
    return result
