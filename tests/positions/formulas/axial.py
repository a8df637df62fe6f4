"""Which coordinate and which angle each pair has; the product of q at m and k at n."""

import math


def halves(dim, base):
    """Two axes, half of the head each: (coordinate, angle) of each pair."""
    quarter = dim // 4
    return [(j // quarter, base ** (-4 * (j % quarter) / dim)) for j in range(dim // 2)]


def sections(dim, base, counts, interleaved):
    """M-RoPE: frequencies of the whole head, shared out in runs, or in turns (Qwen3-VL)."""
    if not interleaved:
        owners = []
        for axis, count in enumerate(counts):
            owners += [axis] * count
    else:
        owners, left = [], list(counts)
        for j in range(dim // 2):
            axis = j % len(counts)
            axis = axis if axis == 0 or left[axis] else 0
            left[axis] -= 1
            owners.append(axis)
    return [(axis, base ** (-2 * j / dim)) for j, axis in enumerate(owners)]


def product(q, k, m, n, pairs):
    """`m` and `n` are coordinates; pairs of dimensions are neighbours."""
    total = 0.0
    for j, (axis, theta) in enumerate(pairs):
        angle = (m[axis] - n[axis]) * theta
        a, b = q[2 * j], q[2 * j + 1]
        c, d = k[2 * j], k[2 * j + 1]
        total += (a * c + b * d) * math.cos(angle) + (a * d - b * c) * math.sin(angle)
    return total
