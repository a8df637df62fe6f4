"""The angles after scaling, pair by pair, and what scores are multiplied by."""

import math


def linear(i, dim, base, s):
    """Chen et al. 2023, equation 4: position m becomes m L / L'."""
    return (1 / s) * base ** (-2 * i / dim)


def ntk(i, dim, base, s):
    """Peng et al. 2023, equations 15 and 16: another base."""
    return (base * s ** (dim / (dim - 2))) ** (-2 * i / dim)


def dynamic(i, dim, base, factor, original, length):
    """Peng et al. 2023, section 3.3; `factor` as transformers has it."""
    if length <= original:
        return base ** (-2 * i / dim)
    return ntk(i, dim, base, factor * length / original - factor + 1)


def yarn_index(beta, dim, base, original):
    """The authors' code: the index at which a pair turns `beta` times."""
    return dim * math.log(original / (2 * math.pi * beta)) / (2 * math.log(base))


def yarn(i, dim, base, s, original, fast=32, slow=1, truncate=True):
    """Peng et al. 2023, equation 20, with the ramp over the index."""
    low, high = (yarn_index(turns, dim, base, original) for turns in (fast, slow))
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    gamma = 1 - min(max((i - low) / (high - low), 0), 1)
    theta = base ** (-2 * i / dim)
    return (1 - gamma) * theta / s + gamma * theta


def yarn_by_turns(i, dim, base, s, original, fast=32, slow=1):
    """Peng et al. 2023, equations 17, 18 and 20 as printed: the ramp over turns."""
    theta = base ** (-2 * i / dim)
    turns = original * theta / (2 * math.pi)
    gamma = 0 if turns < slow else 1 if turns > fast else (turns - slow) / (fast - slow)
    return (1 - gamma) * theta / s + gamma * theta


def yarn_scores(s):
    """Equations 21 and 22: scores are divided by t, and sqrt(1/t) = 0.1 ln s + 1."""
    t = 1 / (0.1 * math.log(s) + 1) ** 2
    return 1 / t


def longrope(i, dim, base, divisors):
    """Ding et al. 2024, section 3.1."""
    return 1 / (divisors[i] * base ** (2 * i / dim))


def longrope_scores(s, original):
    """The authors' code multiplies queries and keys each by the root."""
    each = math.sqrt(1 + math.log(s) / math.log(original))
    return each * each


def llama3(i, dim, base, s, original, low=1, high=4):
    """The code released with Llama 3.1, over wavelengths."""
    theta = base ** (-2 * i / dim)
    wavelength = 2 * math.pi / theta
    if wavelength < original / high:
        return theta
    if wavelength > original / low:
        return theta / s
    smooth = (original / wavelength - low) / (high - low)
    return (1 - smooth) * theta / s + smooth * theta
