"""Sentences on the certainty of a comparison: power, false positives, seeds still needed.

A difference that is not significant is printed with its size and with the number of seeds that
would make one of that size significant. The report states the smallest detectable difference, the
false positive rate, and which intervals are not corrected.
"""

from __future__ import annotations

from collections.abc import Iterable

from wordorder.experiments.power import MOST_SEEDS, detectable, seeds_to_settle
from wordorder.experiments.results import Result, Summary
from wordorder.experiments.significance import Change
from wordorder.experiments.statistics import SIGNIFICANT, Spread
from wordorder.experiments.wording import listed, number_of_seeds
from wordorder.numerals import counted


def certainty(summary: Summary) -> Iterable[str]:
    """Yield sentences on power, scope of the intervals, and false positives."""
    compared = [
        (r, r.against_baseline)
        for r in summary.ranked
        if r.against_baseline and r.against_baseline.difference.spread is not None
    ]
    if not compared:
        return
    yield _power(compared)
    yield _scope_of_intervals(summary, [change for _, change in compared])
    family = compared[0][1].compared
    holm = f", by Holm's correction over {family}" if family > 1 else ""
    exploratory = sum(
        change is not None and change.low is not None
        for r in summary.results
        for change in (*_on_longer_context(r), *(d.rise for d in r.order))
    )
    rest = (
        f" The {counted(exploratory, 'interval')} on longer context and on order "
        f"{'is' if exploratory == 1 else 'are'} exploratory, each at 95% without correction: about "
        f"{SIGNIFICANT * exploratory:.1f} of them are expected to miss the true value."
        if exploratory
        else ""
    )
    yield (
        f"If no embedding differed from {summary.baseline}, the probability of calling any better "
        f"or worse would be at most 5%{holm}.{rest}"
    )
    if summary.left_out:
        yield (
            f"The correction counts {listed(summary.left_out)} too: "
            f"{'it has' if len(summary.left_out) == 1 else 'they have'} runs here, which this "
            "report leaves out."
        )
    if looks := summary.comparison.looks_so_far[:-1]:
        yield (
            f"Results with {listed(map(str, looks))} seeds were available before these: p-values "
            f"are multiplied by {(len(looks) + 1) ** 2} to correct for this; intervals are not "
            "corrected."
        )


def _on_longer_context(result: Result) -> Iterable[Change | None]:
    return (at.change for at in (*result.same_targets, *result.whole_windows))


def _scope_of_intervals(summary: Summary, compared: list[Change]) -> str:
    """Describe which intervals hold for other documents, and which for these alone."""
    if not all(change.difference.over_documents for change in compared):
        return "Intervals and p-values are over seeds only: they hold for these held-out documents."
    longer = [
        change
        for r in summary.results
        for change in _on_longer_context(r)
        if change is not None and change.low is not None
    ]
    seeds_only = "order"
    if not all(change.difference.over_documents for change in longer):
        seeds_only = "longer context and order"
    return (
        "Intervals and p-values are over seeds and held-out documents; those on "
        f"{seeds_only} are over seeds only."
    )


def _power(compared: list[tuple[Result, Change]]) -> str:
    """Describe the smallest difference that is detected with a power of 80%."""
    spreads = [(c.difference.spread, r.position) for r, c in compared if c.difference.spread]
    alone = sorted((detectable(spread), name) for spread, name in spreads)
    text = (
        f"With {number_of_seeds(spread.seeds for spread, _ in spreads)} a true difference of "
        f"{_range(alone)} nats or more is detected with a power of 80%, tested alone"
    )
    first = compared[0][1]  # the correction is the same for the whole family
    if first.tests > 1:
        first_step = sorted((detectable(spread, first.tests), name) for spread, name in spreads)
        text += f"; {_corrected(first)}, {_range(first_step)} nats or more"
    return f"{text}. (A rough estimate from the variance between these seeds.)"


def _corrected(change: Change) -> str:
    """Describe the correction of the smallest p-value of a family."""
    steps = [f"at Holm's first step of {change.compared}"] if change.compared > 1 else []
    steps += [f"after {change.looks} looks at the results"] if change.looks > 1 else []
    return " and ".join(steps)


def _range(differences: list[tuple[float, str]]) -> str:
    (least, first), (most, last) = differences[0], differences[-1]
    if len(differences) == 1:
        return f"{least:.3f}"
    return f"{least:.3f} ({first}) to {most:.3f} ({last})"


def settled(change: Change) -> str:
    """Describe the significance of a difference, and the seeds that would settle it."""
    spread = change.difference.spread
    assert spread is not None
    if change.shown:
        return side(change)
    if change.negligible:
        most = max(abs(change.low or 0.0), abs(change.high or 0.0))
        return f"no difference; up to {most:.3f} nats is not excluded"
    certainty = f"likely {side(change)}, not significant" if change.likely else "not significant"
    needed = seeds_needed(abs(change.mean), spread, change.tests_after_another_look)
    return f"{certainty}; {needed}"


def seeds_needed(
    distance: float, spread: Spread, tests: int = 1, shown: str = "a difference of this size"
) -> str:
    """Describe how many seeds would show a true difference of the measured size.

    Args:
        tests: what the p-value will be multiplied by, the look at more seeds included.
        shown: what they would show.
    """
    needed = seeds_to_settle(distance, spread, tests)
    if needed is None:
        return f"more than {MOST_SEEDS} seeds, or more documents, would be needed to show {shown}"
    needed = max(needed, spread.seeds + 1)
    more = needed - spread.seeds
    return f"about {counted(needed, 'seed')} ({more} more) would show {shown}"


def side(change: Change) -> str:
    """Return "better" or "worse" than the baseline."""
    return "better" if change.mean < 0 else "worse"
