"""Sun et al. 2022: the product of q at m and k at n <= m, by their distance alone."""

import math


def product(q, k, m, n, base=10000, scale_base=512, gamma=0.4):
    dim = len(q)
    total = 0.0
    for i in range(dim // 2):
        zeta = (i / (dim / 2) + gamma) / (1 + gamma)
        theta = base ** (-2 * i / dim)
        real = q[2 * i] * k[2 * i] + q[2 * i + 1] * k[2 * i + 1]
        imaginary = q[2 * i + 1] * k[2 * i] - q[2 * i] * k[2 * i + 1]
        decayed = zeta ** ((m - n) / scale_base)
        total += decayed * (
            real * math.cos((m - n) * theta) - imaginary * math.sin((m - n) * theta)
        )
    return total
