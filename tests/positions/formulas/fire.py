"""Li et al. 2023, section 3: f(psi(i - j) / psi(max(L, i))) with psi(x) = log(c x + 1)."""

import math


def psi(x, c):
    """The transformation of both distances."""
    return math.log(c * x + 1)


def bias(c, threshold, into, shift, out, i, j):
    """Of query position i and key position j, for one head's row `out` of the last layer."""
    share = psi(abs(i - j), c) / psi(max(threshold, i), c)
    hidden = [max(0.0, w * share + b) for w, b in zip(into, shift, strict=True)]
    return sum(v * h for v, h in zip(out, hidden, strict=True))
