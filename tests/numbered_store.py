"""A text whose tokens are their own places."""

from __future__ import annotations

import numpy as np

from wordorder.text.store import TokenStore

END = 0  # no document holds it but at its end


def store_of(*sizes: int) -> TokenStore:
    """Documents of so many tokens, the end included; each token is its own place, from 1."""
    tokens = np.arange(1, sum(sizes) + 1, dtype=np.uint32)
    ends = np.cumsum(sizes)
    tokens[ends - 1] = END
    return TokenStore(tokens, ends - np.array(sizes), sum(sizes), END, sum(sizes) + 1)
