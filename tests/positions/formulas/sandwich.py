"""Chi et al. 2023: the inner product of two sinusoidal embeddings, by head. No constant off."""

import math


def sinusoids(position, dimensions, base):
    """Sines, then cosines: an inner product does not mind the order."""
    angles = [position / base ** (2 * k / dimensions) for k in range(dimensions // 2)]
    return [math.sin(a) for a in angles] + [math.cos(a) for a in angles]


def bias(heads, head, m, n, dimensions, base):
    """Of positions m and n; head 0 is the first of `heads`."""
    first, second = sinusoids(m, dimensions, base), sinusoids(n, dimensions, base)
    product = math.fsum(p * q for p, q in zip(first, second, strict=True))
    return product / ((head + 1) * 8 / heads)
