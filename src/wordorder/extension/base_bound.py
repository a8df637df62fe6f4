"""The base of a rotary embedding bounds the length it can serve.

Of two keys, one like the query and one unlike it, attention should prefer the first, at whatever
distance both stand. In the mean over such keys the preference at distance m is the sum over pairs
of cos(m θᵢ): where it falls below zero the embedding alone turns the preference over. A base serves
a length if the sum stays at zero or above at every distance up to it.

The condition is not monotone in the base: above the smallest base that serves a length lie others
that do not, and below a broad range that serves there are islands as narrow as 0.05%. Nor is it a
measure of loss: a model below the bound may have a low one, and fail to find what stands far back.

Source: Men et al. 2024, "Base of RoPE Bounds Context Length", section 4.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SMALLEST, LARGEST = 10.0, 1e10
STEP = 1.0002  # of one base to the next that is tried
BLOCK = 1024  # distances at once


def preference(base: float, pairs: int, distances: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the sum over pairs of cos(distance * base^(-i / pairs)), for each distance."""
    frequencies = base ** -(np.arange(pairs) / pairs)
    return np.cos(np.multiply.outer(distances, frequencies)).sum(-1)


def served_length(base: float, pairs: int, longest: int = 1 << 17) -> int:
    """Return the largest distance up to which a base serves, at most `longest`."""
    for first in range(0, longest + 1, BLOCK):
        fails = preference(base, pairs, np.arange(first, min(first + BLOCK, longest + 1))) < 0
        if fails.any():
            return first + int(fails.argmax()) - 1
    return longest


def smallest_base(length: int, pairs: int) -> float | None:
    """Return the smallest base that serves a length; None: none up to 10^10 does.

    Args:
        length: in tokens.
        pairs: that turn, half of the head size where all of it does. Fewer pairs need a larger
            base for the same length, so that a bound of another head size says nothing.
    """
    base, failing = SMALLEST, np.array([length])
    while base < LARGEST:
        # What turned the last base down mostly turns down its neighbour too.
        if preference(base, pairs, failing)[0] >= 0:
            served = served_length(base, pairs, length)
            if served == length:
                return base
            failing = np.array([served + 1])
        base *= STEP
    return None
