"""Which paired differences of a family may be called differences.

The headline family is corrected: the losses against the baseline, by Holm, so that the chance of
any false find among them is at most 5%. Where seeds were added after a look at the results, its
p-values are multiplied by the square of the number of looks: adding seeds until something is shown
finds something false in 18% without (3 seeds to 12), and in 5 to 6% with it.

Everything else a report prints (lengths, disturbances of the order) is exploratory: each interval
is a 95% one of its own, none is corrected for how many there are, and the report says so.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from wordorder.experiments.statistics import (
    SIGNIFICANT,
    ByDocument,
    Difference,
    difference,
    differs,
    holm,
)

# Differences that would print as 0.000 are not called any, however sure: a shift of all positions
# moves a relative embedding's loss by the rounding of its angles, the same way with every seed.
SMALLEST_NATS = 0.0005

Key = TypeVar("Key", bound=Hashable)
BySeed = dict[int, float]
# For each seed the loss of each document, and the weight of each document.
Documents = tuple[dict[int, tuple[float, ...]], tuple[float, ...]]


@dataclass(frozen=True)
class Change:
    """A paired difference and whether it may be called one.

    Args:
        seeds: which, in the order of `difference.values`.
        adjusted_p: of the t-test, by Holm in a corrected family, else alone; None with one seed.
        shown: the interval excludes zero, the adjusted p is below 0.05, and the mean is at least
            0.0005 nats either way.
        compared: how many differences Holm's correction is for; 1 in an exploratory family.
    """

    difference: Difference
    seeds: tuple[int, ...]
    adjusted_p: float | None
    shown: bool
    compared: int = 1

    @property
    def mean(self) -> float:
        return self.difference.mean

    @property
    def low(self) -> float | None:
        return self.difference.low

    @property
    def high(self) -> float | None:
        return self.difference.high

    @property
    def likely(self) -> bool:
        """Whether it is not shown although its p alone is below 0.05."""
        p = self.difference.p
        return not self.shown and p is not None and p < SIGNIFICANT and not self.negligible

    @property
    def negligible(self) -> bool:
        """Whether it prints as 0.000."""
        return abs(self.mean) < SMALLEST_NATS


def judge(
    family: Mapping[Key, tuple[BySeed, BySeed]],
    documents: Mapping[Key, tuple[Documents, Documents]] | None = None,
    *,
    exploratory: bool = False,
    looks: int = 1,
) -> dict[Key, Change]:
    """Return the paired differences of one family.

    Args:
        family: values and their baseline, each by seed; a seed counts where both have it, and
            what shares no seed with its baseline is left out.
        documents: the same by document, where that was measured.
        exploratory: nothing is corrected for how many differences there are.
        looks: how often the results were looked at, each time with more seeds, this time included.
    """
    found: dict[Key, tuple[Difference, tuple[int, ...]]] = {}
    for key, (values, base) in family.items():
        seeds = tuple(sorted(values.keys() & base.keys()))
        if seeds:
            by_document = _paired(seeds, (documents or {}).get(key))
            paired = difference([values[s] for s in seeds], [base[s] for s in seeds], by_document)
            found[key] = (paired, seeds)
    tested = {key: paired.p for key, (paired, _) in found.items() if paired.p is not None}
    ps = list(tested.values())
    corrected = ps if exploratory else [min(1.0, looks**2 * p) for p in holm(ps)]
    adjusted = dict(zip(tested, corrected, strict=True))
    return {
        key: Change(
            paired,
            seeds,
            adjusted.get(key),
            abs(paired.mean) >= SMALLEST_NATS and differs(paired, adjusted.get(key)),
            1 if exploratory else len(tested),
        )
        for key, (paired, seeds) in found.items()
    }


def _paired(
    seeds: tuple[int, ...], documents: tuple[Documents, Documents] | None
) -> ByDocument | None:
    """Return the differences by document; None unless every seed has them for the same ones."""
    if documents is None:
        return None
    (values, weights), (base, base_weights) = documents
    sizes = {len(of_seed.get(s, ())) for of_seed in (values, base) for s in seeds}
    if not weights or weights != base_weights or sizes != {len(weights)}:
        return None
    pairs = (zip(values[s], base[s], strict=True) for s in seeds)
    return ByDocument(tuple(tuple(v - b for v, b in pair) for pair in pairs), weights)
