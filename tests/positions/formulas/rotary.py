"""Su et al. 2021: equation 15 gives the angles, equation 16 the product of q at m and k at n.

Written with the product's dependence on m - n alone; nothing here is ever turned.
"""

import math


def angle(pair, turned, base, head_dim=None):
    """Per position; over `head_dim` dimensions where the pairs are those of p-RoPE."""
    return base ** (-2 * pair / (head_dim or turned))


def dimensions(layout, turned, span=None):
    """The two dimensions of each pair; `span` is what the halves are of."""
    if layout == "interleaved":
        return [(2 * i, 2 * i + 1) for i in range(turned // 2)]
    return [(i, i + (span or turned) // 2) for i in range(turned // 2)]


def product(q, k, m, n, angles, pairs):
    """q . k after turning, with the dimensions outside of all pairs as they are."""
    total = sum(a * b for a, b in zip(q, k, strict=True))
    for theta, (a, b) in zip(angles, pairs, strict=True):
        along = q[a] * k[a] + q[b] * k[b]
        across = q[a] * k[b] - q[b] * k[a]
        total += along * (math.cos((m - n) * theta) - 1) + across * math.sin((m - n) * theta)
    return total
