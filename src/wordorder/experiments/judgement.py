"""Which paired differences of a family may be called differences.

A difference is *shown* where its 95% interval over seeds excludes zero and Holm's correction,
for how many of its kind are looked at together, allows it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from wordorder.experiments.statistics import Difference, difference, differs, holm

# Differences that would print as 0.000 are not called any, however sure: a shift of all positions
# moves a relative embedding's loss by the rounding of its angles, the same way with every seed.
SMALLEST_NATS = 0.0005

Key = TypeVar("Key", bound=Hashable)
BySeed = dict[int, float]


@dataclass(frozen=True)
class Change:
    """A paired difference and whether it may be called one.

    Args:
        seeds: which, in the order of `difference.values`.
        adjusted_p: of the paired t-test, by Holm; None with one seed.
        shown: the interval excludes zero, the adjusted p is below 0.05, and the mean is at least
            0.0005 nats either way.
    """

    difference: Difference
    seeds: tuple[int, ...]
    adjusted_p: float | None
    shown: bool

    @property
    def mean(self) -> float:
        return self.difference.mean

    @property
    def low(self) -> float | None:
        return self.difference.low

    @property
    def high(self) -> float | None:
        return self.difference.high


def judge(family: Mapping[Key, tuple[BySeed, BySeed]]) -> dict[Key, Change]:
    """Return the paired differences of one family, corrected for how many they are.

    Args:
        family: values and their baseline, each by seed; a seed counts where both have it, and
            what shares no seed with its baseline is left out.
    """
    found: dict[Key, tuple[Difference, tuple[int, ...]]] = {}
    for key, (values, base) in family.items():
        seeds = tuple(sorted(values.keys() & base.keys()))
        if seeds:
            paired = difference([values[s] for s in seeds], [base[s] for s in seeds])
            found[key] = (paired, seeds)
    tested = [key for key, (paired, _) in found.items() if paired.p is not None]
    adjusted = dict(zip(tested, holm([found[key][0].p or 0.0 for key in tested]), strict=True))
    return {
        key: Change(
            paired,
            seeds,
            adjusted.get(key),
            abs(paired.mean) >= SMALLEST_NATS and differs(paired, adjusted.get(key)),
        )
        for key, (paired, seeds) in found.items()
    }
