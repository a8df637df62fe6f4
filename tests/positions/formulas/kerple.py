"""Chi et al. 2022, section 4: the logarithmic and the power kernel, with r1 and r2 by head."""

import math


def logarithmic(r1, r2, m, n):
    """Of positions m and n."""
    return -r1 * math.log(1 + r2 * abs(m - n))


def power(r1, r2, m, n):
    """Of positions m and n."""
    return -r1 * math.pow(abs(m - n), r2)
