"""Significance of paired differences in a family of comparisons.

The losses against the baseline have Holm's correction, so that the probability of any false
positive is at most 5%. If seeds were added after a look at the results, p-values are multiplied by
the square of the number of looks: adding seeds until something is significant (3 to 12 seeds) gives
a false positive in 18% of cases without, and in 5 to 6% with this correction.

All other results (lengths, disturbed order) are exploratory: each interval is at 95% without
correction for multiple tests, and the report states this.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar, final

from wordorder.evaluation.effect import SMALLEST_NATS
from wordorder.experiments.statistics import (
    SIGNIFICANT,
    ByDocument,
    Difference,
    difference,
    differs,
    holm,
)

Key = TypeVar("Key", bound=Hashable)
BySeed = dict[int, float]
# For each seed the loss of each document, and the weight of each document.
Documents = tuple[dict[int, tuple[float, ...]], tuple[float, ...]]


@final
@dataclass(frozen=True)
class Change:
    """A paired difference and its significance.

    Args:
        seeds: in the order of `difference.values`.
        adjusted_p: of the t-test, with Holm's correction unless exploratory; None with one seed.
        shown: the interval excludes zero, the adjusted p is below 0.05, and the mean is at least
            0.0005 nats either way.
        compared: the number of differences that Holm's correction is for; 1 if exploratory.
        looks: how often results were available, this time included; 1 if exploratory.
    """

    difference: Difference
    seeds: tuple[int, ...]
    adjusted_p: float | None
    shown: bool
    compared: int = 1
    looks: int = 1

    @property
    def tests(self) -> int:
        """What the smallest p-value of the family is multiplied by."""
        return self.compared * self.looks**2

    @property
    def tests_after_another_look(self) -> int:
        """What it will be multiplied by once seeds have been added."""
        return self.compared * (self.looks + 1) ** 2

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
        """Whether it is significant only without correction."""
        p = self.difference.p
        return not self.shown and p is not None and p < SIGNIFICANT and not self.negligible

    @property
    def negligible(self) -> bool:
        """Whether it prints as 0.000."""
        return abs(self.mean) < SMALLEST_NATS

    def within(self, nats: float) -> bool:
        """Whether the 95% interval is within so many nats of zero: a test of equivalence."""
        return (
            self.low is not None and self.high is not None and -nats < self.low <= self.high < nats
        )


def judge(
    family: Mapping[Key, tuple[BySeed, BySeed]],
    documents: Mapping[Key, tuple[Documents, Documents]] | None = None,
    *,
    exploratory: bool = False,
    looks: int = 1,
    planned: int = 0,
) -> dict[Key, Change]:
    """Return the paired differences of one family.

    Args:
        family: values and their baseline, each by seed; only common seeds count, and entries
            without a common seed are left out.
        documents: the same by document, if measured.
        exploratory: no correction for multiple tests.
        looks: how often results were available, with growing numbers of seeds, this time included.
        planned: the number of comparisons that were fixed in advance; those not measured yet count
            as the least significant. 0: as many as are measured.
    """
    differences: dict[Key, tuple[Difference, tuple[int, ...]]] = {}
    for key, (values, base) in family.items():
        seeds = tuple(sorted(values.keys() & base.keys()))
        if seeds:
            by_document = _paired(seeds, (documents or {}).get(key))
            paired = difference([values[s] for s in seeds], [base[s] for s in seeds], by_document)
            differences[key] = (paired, seeds)
    tested = {key: paired.p for key, (paired, _) in differences.items() if paired.p is not None}
    ps = list(tested.values())
    planned_ps = [*ps, *[1.0] * (planned - len(ps))]
    corrected = ps if exploratory else [min(1.0, looks**2 * p) for p in holm(planned_ps)]
    adjusted = dict(zip(tested, corrected, strict=False))
    return {
        key: Change(
            paired,
            seeds,
            adjusted.get(key),
            abs(paired.mean) >= SMALLEST_NATS and differs(paired, adjusted.get(key)),
            1 if exploratory else max(planned, len(tested)),
            1 if exploratory else looks,
        )
        for key, (paired, seeds) in differences.items()
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
