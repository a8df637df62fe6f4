"""Counts, signed numbers and long lists as text: "2 documents", "+0.012", "a, b and 3 more".

Not here: rates and durations, see training/plan.py.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return a count with its noun: "1 document", "1,234 documents", "no documents".

    Args:
        plural: the plural of the noun; None adds an s.
    """
    return f"{f'{count:,}' if count else 'no'} {noun if count == 1 else plural or noun + 's'}"


def signed(value: float, digits: int = 3) -> str:
    """Return a number with its sign: "+0.012"; "0.000" if it rounds to zero."""
    return f"{value:+.{digits}f}" if float(f"{value:.{digits}f}") else f"{0.0:.{digits}f}"


def first_of(names: Sequence[object], most: int) -> str:
    """Return the first names of a list, and how many others there are: "a, b and 3 more"."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def perplexity(loss: float) -> float | None:
    """Return the perplexity of a loss in nats per token; None if it is past float64's largest."""
    return math.exp(loss) if loss < math.log(sys.float_info.max) else None


def perplexity_in_words(loss: float, digits: int = 1) -> str:
    """Return the perplexity of a loss in nats per token: "perplexity 12.3", "perplexity 4.5e+09".

    Args:
        digits: digits after the point, below a million.
    """
    value = perplexity(loss)
    if value is None:
        return "perplexity above 1e+308"
    return f"perplexity {value:.{digits}f}" if value < 1e6 else f"perplexity {value:.2g}"
