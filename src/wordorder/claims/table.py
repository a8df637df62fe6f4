"""Prints verdicts: for a terminal, and as a Markdown table.

Every verdict is shown with its criteria, every criterion with the measured value and its interval,
beside the figures of the source.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from wordorder.claims.claim import (
    DIRECTION,
    FAILS,
    HOLDS,
    NOT_TESTABLE,
    UNDECIDED,
    Claim,
    ClaimPlan,
    Criterion,
    Verdict,
)
from wordorder.experiments.statistics import Interval
from wordorder.numerals import counted
from wordorder.table import Table
from wordorder.training.plan import readable_seconds

STYLES = {
    HOLDS: "green",
    DIRECTION: "yellow",
    FAILS: "red",
    UNDECIDED: "dim",
    NOT_TESTABLE: "dim",
}
WORDS = frozenset(range(5))  # columns: all are aligned to the left
SMALL = 5e-4  # smaller numbers would print as 0.000


def for_terminal(verdicts: Sequence[Verdict]) -> Group:
    """Return every verdict with its statement, results and source, then the counts."""
    parts: list[RenderableType] = []
    for verdict in verdicts:
        claim = verdict.claim
        head = Text(f"{verdict.word}", style=f"bold {STYLES[verdict.word]}")
        head.append(f"  {claim.name}", style="bold")
        lines = Text(f"{claim.statement}\n")
        for line in figures(verdict):
            lines.append(f"  {line}\n")
        for reason in verdict.reasons:
            lines.append(f"  {reason}\n")
        lines.append(f"  source   {claim.source}: {claim.theirs}\n", style="dim")
        for line in verdict.measurements.notes:
            lines.append(f"  {line}\n", style="dim")
        lines.rstrip()
        parts += [head, Padding(lines, (0, 0, 1, 2))]
    return Group(*parts, Text(summary(verdicts)))


def figures(verdict: Verdict) -> list[str]:
    """Return each criterion with its measured value, then the other quantities."""
    lines, shown = [], set()
    for criterion, word in zip(verdict.claim.criteria, verdict.by_criterion, strict=True):
        interval = verdict.intervals.get(criterion.quantity)
        value = "nothing measured" if interval is None else in_words(interval, verdict.claim.unit)
        shown.add(criterion.quantity)
        lines.append(
            f"{criterion}: {value}" + (f" ({word})" if len(verdict.by_criterion) > 1 else "")
        )
    gates = {gate.criterion.quantity: gate.criterion for gate in verdict.claim.gates}
    for name, interval in verdict.intervals.items():
        if name in gates and name not in shown:
            met = "" if _met(verdict, gates[name]) else " (not met)"
            lines.append(f"gate: {gates[name]}: {in_words(interval, '')}{met}")
        elif name not in shown:
            lines.append(f"{name}: {in_words(interval, verdict.claim.unit)}")
    return lines


def _met(verdict: Verdict, gate: Criterion) -> bool:
    return gate.judge(verdict.measurements.quantities.get(gate.quantity, ())) == HOLDS


def in_words(interval: Interval, unit: str) -> str:
    """Return a mean with its unit and interval."""
    if interval.low is None or interval.high is None:
        return f"{number(interval.mean)} {unit} (too few seeds for an interval)".replace("  ", " ")
    if interval.low == interval.high:
        return f"{number(interval.mean)} {unit}".rstrip()
    ends = f"[{number(interval.low)}, {number(interval.high)}]"
    return f"{number(interval.mean)} {unit} {ends}".replace("  ", " ")


def number(value: float) -> str:
    """Return a number with three decimals, or in scientific notation if very small or large."""
    if value and (abs(value) < SMALL or abs(value) >= 1e4):
        return f"{value:.1e}"
    return f"{value:,.3f}" if abs(value) < 100 else f"{value:,.0f}"


def summary(verdicts: Sequence[Verdict]) -> str:
    """Return the number of claims with each verdict."""
    counts = Counter(verdict.word for verdict in verdicts)
    words = ", ".join(f"{counts[word]} {word}" for word in STYLES if counts[word])
    return f"{counted(len(verdicts), 'claim')}: {words}"


def markdown(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as a Markdown table, with measurements beside the source's figures."""
    rows = [
        [
            f"**{verdict.claim.name}**: {verdict.claim.statement}",
            verdict.word,
            "\n".join(_short(verdict)),
            f"{_author(verdict.claim)}: {verdict.claim.theirs}",
        ]
        for verdict in verdicts
    ]
    return Table(["claim", "verdict", "measured here", "source"], rows, left=WORDS).markdown()


def _short(verdict: Verdict) -> list[str]:
    """Return the value for each criterion, and the gates that are not met."""
    lines = []
    for criterion, word in zip(verdict.claim.criteria, verdict.by_criterion, strict=True):
        interval = verdict.intervals.get(criterion.quantity)
        figure = "nothing measured" if interval is None else in_words(interval, "")
        mark = "" if word == verdict.word else f" ({word})"
        lines.append(f"{criterion.quantity}: {figure}; threshold {criterion.threshold}{mark}")
    gates = {gate.criterion: None for gate in verdict.claim.gates}  # in order, each once
    for gate in gates if verdict.word == NOT_TESTABLE else ():
        interval = verdict.intervals.get(gate.quantity)
        if interval is not None and not _met(verdict, gate):
            figure = in_words(interval, "")
            lines.append(f"gate: {gate.quantity}: {figure}; threshold {gate.threshold}")
    return [*lines, *verdict.reasons]


def _author(claim: Claim) -> str:
    """Return author and year: the source up to its first punctuation."""
    return re.split(r"[,;:(]", claim.source, maxsplit=1)[0].strip()


def listing(claims: Sequence[Claim], plan: ClaimPlan) -> Group:
    """Return every claim with its seeds, time, statement and criteria, before anything is run."""
    parts: list[RenderableType] = []
    for claim in claims:
        head = Text(claim.name, style="bold")
        head.append(f"  {_effort(claim, plan)}", style="not bold dim")
        criteria = "".join(f"\n  {criterion}" for criterion in claim.criteria)
        parts += [head, Padding(Text(claim.statement + criteria), (0, 0, 1, 2))]
    return Group(*parts, Text(f"{counted(len(claims), 'claim')}; times on one core"))


def markdown_listing(claims: Sequence[Claim], plan: ClaimPlan) -> str:
    """Return the same as a Markdown table."""
    rows = [
        [f"**{claim.name}**: {claim.statement}", "\n".join(map(str, claim.criteria)),
         _effort(claim, plan), _author(claim)]
        for claim in claims
    ]  # fmt: skip
    return Table(["claim", "criteria", "effort", "source"], rows, left=WORDS).markdown()


def _effort(claim: Claim, plan: ClaimPlan) -> str:
    """Return a claim's seeds and estimated time."""
    if not claim.works(claim.plan(plan)):
        return "nothing to run without --words"
    seeds = counted(claim.plan(plan).seeds, "seed")
    return f"{seeds}, {readable_seconds(claim.seconds(plan))}"
