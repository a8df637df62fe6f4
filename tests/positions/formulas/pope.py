"""Gopalakrishnan et al. 2025, equations 3 to 6, divided by sqrt(d)."""

import math


def score(q, k, query_position, key_position, offsets, base):
    """sum_c softplus(q_c) softplus(k_c) cos((s - t) theta_c + delta_c), delta in [-2 pi, 0]."""
    d = len(q)
    total = 0.0
    for c in range(d):
        theta = base ** (-c / d)
        delta = min(max(offsets[c], -2 * math.pi), 0.0)
        size = math.log(1 + math.exp(q[c])) * math.log(1 + math.exp(k[c]))
        total += size * math.cos((key_position - query_position) * theta + delta)
    return total / math.sqrt(d)
