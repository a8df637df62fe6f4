"""How certain the findings of a comparison are, in sentences: power, chance, seeds still needed.

A difference that is not shown is printed with its size all the same, and with the number of seeds
that would settle one of that size; a comparison says what it could have found at all, how often it
would find what is not there, and which of its intervals nothing corrects.
"""

from __future__ import annotations

from collections.abc import Iterable

from wordorder.experiments.judgement import Change
from wordorder.experiments.power import MOST_SEEDS, detectable, seeds_to_settle
from wordorder.experiments.results import Result, Summary
from wordorder.experiments.statistics import SIGNIFICANT, Spread
from wordorder.experiments.wording import listed
from wordorder.numerals import counted


def certainty(summary: Summary) -> Iterable[str]:
    """Yield what the comparison could have found, and how often it finds what is not there."""
    compared = [
        (r, r.against_baseline)
        for r in summary.ranked
        if r.against_baseline and r.against_baseline.difference.spread is not None
    ]
    if not compared:
        return
    family = compared[0][1].compared
    yield _power(compared, family)
    over = all(c.difference.over_documents for _, c in compared)
    yield (
        "Intervals and p-values are over seeds and held-out documents; those on order are over "
        "seeds alone."
        if over
        else "Intervals and p-values are over seeds alone: they hold for these held-out documents."
    )
    holm = f", by Holm's correction over {family}" if family > 1 else ""
    exploratory = sum(
        change is not None and change.low is not None
        for r in summary.results
        for change in (*(at.change for at in r.same_targets), *(d.rise for d in r.order))
    )
    rest = (
        f" The {counted(exploratory, 'interval')} on longer context and on order "
        f"{'is' if exploratory == 1 else 'are'} exploratory, each 95% by itself: about "
        f"{SIGNIFICANT * exploratory:.1f} of them would miss the truth."
        if exploratory
        else ""
    )
    yield (
        f"If no embedding differed from {summary.baseline}, the chance that any is called better "
        f"or worse would be at most 5%{holm}.{rest}"
    )
    if looks := summary.comparison.looks_so_far[:-1]:
        yield (
            f"Seeds were added after the results had been looked at with {listed(map(str, looks))}:"
            f" p-values are multiplied by {(len(looks) + 1) ** 2} for it, intervals are not and "
            "assume a number of seeds that was fixed in advance."
        )


def _power(compared: list[tuple[Result, Change]], family: int) -> str:
    """Say what difference the comparison would have found with 80% probability."""
    spreads = [(c.difference.spread, r.position) for r, c in compared if c.difference.spread]
    alone = sorted((detectable(spread), name) for spread, name in spreads)
    text = (
        f"With {counted(max(spread.seeds for spread, _ in spreads), 'seed')} a true difference is "
        f"found 80% of the time if it is {_range(alone)} nats or more, tested alone"
    )
    if family > 1:
        first_step = sorted((detectable(spread, family), name) for spread, name in spreads)
        text += f"; at Holm's first step of {family}, {_range(first_step)} or more"
    return f"{text}. (Estimated from the spread over these seeds, so a rough figure.)"


def _range(found: list[tuple[float, str]]) -> str:
    (least, first), (most, last) = found[0], found[-1]
    if len(found) == 1:
        return f"{least:.3f}"
    return f"{least:.3f} ({first}) to {most:.3f} ({last})"


def settled(change: Change) -> str:
    """Return what is certain of a difference, and how many seeds would settle it."""
    spread = change.difference.spread
    assert spread is not None
    if change.shown:
        return side(change)
    if change.negligible:
        most = max(abs(change.low or 0.0), abs(change.high or 0.0))
        return f"no difference found; one of {most:.3f} nats is not excluded"
    certainty = f"likely {side(change)}, not settled" if change.likely else "not settled"
    return f"{certainty}; {seeds_needed(abs(change.mean), spread, change.compared)}"


def seeds_needed(distance: float, spread: Spread, comparisons: int = 1) -> str:
    """Return how many seeds would show a true difference as large as what was found."""
    needed = seeds_to_settle(distance, spread, comparisons)
    if needed is None:
        return f"a difference of this size needs more than {MOST_SEEDS} seeds, or more documents"
    needed = max(needed, spread.seeds + 1)
    more = needed - spread.seeds
    return f"about {counted(needed, 'seed')} ({more} more) would settle one of this size"


def side(change: Change) -> str:
    """Return whether a loss is better or worse than the baseline's."""
    return "better" if change.mean < 0 else "worse"
