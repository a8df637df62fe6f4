"""Nakanishi 2025, equation 3: a weight is n^(s z) over the sum of those of the row."""

import math


def weights(s, scores, least=1):
    """Scalable-Softmax of a row of scores, written with powers of n."""
    n = max(least, len(scores))
    powers = [math.pow(n, s * z) for z in scores]
    return [power / sum(powers) for power in powers]
