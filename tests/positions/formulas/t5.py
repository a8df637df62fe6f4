"""Raffel et al. 2020, section 2.1: half of the buckets hold one distance, the others grow.

Where buckets part is decided with a margin for rounding: a distance that stands exactly on
a border belongs to the farther bucket.
"""

import math

ROUNDING = 1e-9


def bucket(ahead, buckets, max_distance, causal):
    """Of a key `ahead` positions after its query (behind it: below 0)."""
    if causal:
        return share(max(-ahead, 0), buckets, max_distance)
    half = buckets // 2
    return share(abs(ahead), half, max_distance) + (half if ahead > 0 else 0)


def share(apart, buckets, max_distance):
    near = buckets // 2
    if apart < near:
        return apart
    grown = math.log(apart / near) / math.log(max_distance / near) * (buckets - near)
    return min(near + math.floor(grown + ROUNDING), buckets - 1)


def score(product, head_dim, scaled, table, head, i, j, max_distance, causal):
    """Of query position i and key position j; `table` has a row for each head."""
    column = bucket(j - i, len(table[head]), max_distance, causal)
    return (product / math.sqrt(head_dim) if scaled else product) + table[head][column]
