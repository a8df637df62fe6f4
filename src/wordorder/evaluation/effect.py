"""Classifies a difference in loss by its 95% interval, with the same rule in every report.

Not here: tests and corrections for a family of comparisons: see experiments/significance.py.
"""

from __future__ import annotations

# A difference that prints as 0.000 counts as no effect: shifting all positions changes a relative
# embedding's loss through rounding of its angles, in the same way in every window.
SMALLEST_NATS = 0.0005
# The largest rise in nats that counts as surviving. ALiBi, known for length extrapolation, rises by
# .018 at six times its trained length (Press et al. 2022, table 13: perplexity
# 17.98 to 18.30 on sliding windows); rotary rises by more than .06 at twice its own.
TOLERANCE_NATS = 0.03
# The smallest gain in nats that counts as using longer context.
GAIN_NATS = 0.01


def of_context(low: float, high: float) -> str:
    """Return the effect of longer context in a word: uses it, survives, breaks or undecided.

    A word needs the whole interval on one side of its bound, so each is wrong in at most 2.5% of
    cases; an interval that contains the bound is undecided, however large its mean.

    Args:
        low, high: the 95% interval of the change in loss, in nats.
    """
    if high < -GAIN_NATS:
        return "uses it"
    if low > TOLERANCE_NATS:
        return "breaks"
    return "survives" if high < TOLERANCE_NATS else "undecided"


def direction(low: float, high: float) -> int:
    """Return -1 or 1 if a whole interval is below or above zero, else 0.

    An end that prints as 0.000 is zero.
    """
    return (low >= SMALLEST_NATS) - (high <= -SMALLEST_NATS)
