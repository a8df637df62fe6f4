"""Yang et al. 2025, section 2.2, with every d x d matrix multiplied out."""

import math


def multiply(a, b):
    columns = list(zip(*b, strict=True))
    return [
        [sum(x * y for x, y in zip(row, column, strict=True)) for column in columns] for row in a
    ]


def identity(d):
    return [[1.0 if r == c else 0.0 for c in range(d)] for r in range(d)]


def apply(matrix, vector):
    return [sum(m * v for m, v in zip(row, vector, strict=True)) for row in matrix]


def direction(xs, t, down, up, convolution, d, head):
    """w_t: low-rank linear, causal convolution (newest tap first), length 1."""
    summed = [0.0] * d
    for tap, weights in enumerate(convolution):
        if t - tap < 0:
            continue
        projected = apply(up, apply(down, xs[t - tap]))
        for c in range(d):
            summed[c] += weights[head * d + c] * projected[head * d + c]
    length = math.sqrt(sum(c * c for c in summed))
    return [c / length for c in summed]


def transformation(w, beta):
    """H = I - beta w w^T."""
    d = len(w)
    return [[(1.0 if r == c else 0.0) - beta * w[r] * w[c] for c in range(d)] for r in range(d)]


def beta(x, weight, constant):
    return 2 / (1 + math.exp(-(sum(a * b for a, b in zip(x, weight, strict=True)) + constant)))


def score(q, k, transformations, i, j):
    """k_j^T H_{j+1} ... H_i q_i / sqrt(d)."""
    between = identity(len(q))
    for s in range(j + 1, i + 1):
        between = multiply(between, transformations[s])
    return sum(a * b for a, b in zip(k, apply(between, q), strict=True)) / math.sqrt(len(q))
