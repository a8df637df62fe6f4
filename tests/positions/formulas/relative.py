"""Shaw et al. 2018, section 3.2: clip(x, k) = max(-k, min(k, x)); here a scalar each."""

import math


def entry(table, i, j, clip, causal):
    """Of query position i and key position j, in one head's list, nearest to the future first."""
    clipped = max(-clip, min(clip, i - j))
    if causal:
        return table[clipped] if clipped >= 0 else math.nan  # never looked at
    return table[clipped + clip]
