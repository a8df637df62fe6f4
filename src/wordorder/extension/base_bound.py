"""The lower bound on the base of a rotary embedding for a context length.

Of two keys, one similar to the query and one dissimilar, attention should prefer the similar one at
every distance. Averaged over such keys, the preference at distance m is the sum over pairs of
cos(m θᵢ); where it is negative, the embedding alone reverses the preference. A base *supports* a
length if the sum is non-negative at all distances up to it.

The condition is not monotone in the base: bases above the smallest supporting one may fail, and
below the broad supporting range are islands as narrow as 0.05%. It does not bound the loss: a model
below the bound may have a low loss, yet fail to retrieve distant tokens.

Source: Men et al. 2024, "Base of RoPE Bounds Context Length", section 4.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SMALLEST, LARGEST = 10.0, 1e10
STEP = 1.0002  # ratio of successive bases in the search
BLOCK = 1024  # distances computed at once


def preference(base: float, pairs: int, distances: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the sum over pairs of cos(distance * base^(-i / pairs)) for each distance."""
    frequencies = base ** -(np.arange(pairs) / pairs)
    return np.cos(np.multiply.outer(distances, frequencies)).sum(-1)


def served_length(base: float, pairs: int, longest: int = 1 << 17) -> int:
    """Return the length that a base supports, at most `longest`."""
    for first in range(0, longest + 1, BLOCK):
        fails = preference(base, pairs, np.arange(first, min(first + BLOCK, longest + 1))) < 0
        if fails.any():
            return first + int(fails.argmax()) - 1
    return longest


def smallest_base(length: int, pairs: int) -> float | None:
    """Return the smallest base that supports a length; None if none up to 10^10 does.

    Args:
        length: in tokens.
        pairs: the number of rotated pairs: half of the head size if all of it is rotated. Fewer
            pairs need a larger base, so the bound of another head size does not apply.
    """
    base, failing = SMALLEST, np.array([length])
    while base < LARGEST:
        # The distance at which the last base failed usually fails the next one too: a cheap test.
        if preference(base, pairs, failing)[0] >= 0:
            served = served_length(base, pairs, length)
            if served == length:
                return base
            failing = np.array([served + 1])
        base *= STEP
    return None
