"""Numbers as every table, sentence and figure of an experiment prints them.

One function for each kind of number, so that two places cannot round it differently: p-values,
factors, lists, differences with their intervals. Counts and signs are in `wordorder.numerals`.
"""

from __future__ import annotations

from collections.abc import Iterable

from wordorder.experiments.significance import Change
from wordorder.experiments.statistics import SIGNIFICANT
from wordorder.numerals import counted, signed

SMALLEST_P = 0.0001  # smaller p-values are printed as "< 0.0001", which is precise enough
MOST_DIGITS = 17  # of a double


def p_value(p: float) -> str:
    """Return a p-value with two digits, or more if rounding to two would cross 0.05.

    0.0512 is `0.051`, 0.04996 is `0.04996`: never `0.05` for either.
    """
    if p < SMALLEST_P:
        return f"< {SMALLEST_P:g}"
    for digits in range(2, MOST_DIGITS + 1):
        text = f"{p:.{digits}g}"
        if p == SIGNIFICANT or (
            float(text) != SIGNIFICANT and (float(text) < SIGNIFICANT) == (p < SIGNIFICANT)
        ):
            return text
    return repr(p)


def times(factor: float) -> str:
    """Return a factor as people read it: `16x`."""
    return f"{factor:g}x"


def listed(names: Iterable[str]) -> str:
    """Return names as a sentence has them: `a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def number_of_seeds(numbers: Iterable[int]) -> str:
    """Return `3 seeds`, or `2 to 3 seeds` where some runs failed."""
    least, *_, most = sorted([*numbers] * 2)
    return counted(most, "seed") if least == most else f"{least} to {most} seeds"


def with_interval(change: Change) -> str:
    """Return a difference with its 95% interval: `-0.004 (-0.015 to +0.007)`."""
    if change.low is None or change.high is None:
        return signed(change.mean)
    return f"{signed(change.mean)} ({signed(change.low)} to {signed(change.high)})"


def with_reach(change: Change) -> str:
    """Return a difference with half its 95% interval, which reaches as far both ways."""
    if change.low is None or change.high is None:
        return signed(change.mean)
    return f"{signed(change.mean)} ±{(change.high - change.low) / 2:.3f}"
