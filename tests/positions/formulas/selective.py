"""Movahedi et al. 2026, equation 13 and figure 4, with the unit-length input of section 4.3."""

import math


def apply(matrix, vector):
    return [sum(m * v for m, v in zip(row, vector, strict=True)) for row in matrix]


def angles(xs, down, up, convolution, gate, heads, d, base):
    """Return [token][head][pair]; `convolution` is newest tap first, `gate` (u, b) or None."""
    unit = [[c / math.sqrt(sum(a * a for a in x)) for c in x] for x in xs]
    asked = [apply(up, apply(down, x)) for x in unit]
    pairs = d // 2
    totals = [[0.0] * pairs for _ in range(heads)]
    found = []
    for t, x in enumerate(unit):
        for h in range(heads):
            open_ = 1.0
            if gate:
                u, b = gate
                open_ = 1 / (
                    1 + math.exp(-(sum(a * c for a, c in zip(u[h], x, strict=True)) + b[h]))
                )
            for p in range(pairs):
                place = h * pairs + p
                step = sum(
                    weights[place] * asked[t - tap][place]
                    for tap, weights in enumerate(convolution)
                    if t >= tap
                )
                totals[h][p] += open_ * step * base ** (-2 * p / d)
        found.append([list(row) for row in totals])
    return found


def score(q, k, query_angles, key_angles):
    """Interleaved pairs: only the angle between a query and a key counts."""
    total = 0.0
    for p, (a, b) in enumerate(zip(query_angles, key_angles, strict=True)):
        q1, q2, k1, k2 = q[2 * p], q[2 * p + 1], k[2 * p], k[2 * p + 1]
        total += (q1 * k1 + q2 * k2) * math.cos(a - b) + (q1 * k2 - q2 * k1) * math.sin(a - b)
    return total / math.sqrt(len(q))
