"""Zhang et al. 2025, sections 2 and 3: exp(n w L), as a power series of the matrix n w L."""

import math


def orthonormal(a, b):
    """a and b with length 1, b perpendicular to a."""
    size = math.sqrt(sum(x * x for x in a))
    a = [x / size for x in a]
    along = sum(x * y for x, y in zip(a, b, strict=True))
    b = [y - along * x for x, y in zip(a, b, strict=True)]
    size = math.sqrt(sum(y * y for y in b))
    return a, [y / size for y in b]


def generator(a, b):
    """L = a b' - b a'."""
    return [[a[i] * b[j] - b[i] * a[j] for j in range(len(a))] for i in range(len(a))]


def exponential(matrix, vector):
    """exp(matrix) vector: the sum of matrix^k vector / k!."""
    result, term = list(vector), list(vector)
    for k in range(1, 200):
        term = [sum(m * t for m, t in zip(row, term, strict=True)) / k for row in matrix]
        result = [r + t for r, t in zip(result, term, strict=True)]
    return result


def turned(vector, n, planes):
    """A vector at position n: each block rotated by its frequency and vectors (w, a, b)."""
    result = []
    for w, a, b in planes:
        block = vector[len(result) : len(result) + len(a)]
        # The angle, less whole turns, so that the series converges.
        angle = math.remainder(n * w, 2 * math.pi)
        matrix = [[angle * entry for entry in row] for row in generator(*orthonormal(a, b))]
        result += exponential(matrix, block)
    return result
