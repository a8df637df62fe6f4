"""Verdicts as people read them: a table for the terminal, and one in Markdown for a README.

The figures stand beside the source's own, each with its interval; a criterion is never shown
without them, nor a verdict without its criterion.
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
    Criterion,
    Plan,
    Verdict,
)
from wordorder.experiments.statistics import Interval
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
SMALL = 5e-4  # below it three decimals say nothing


def for_terminal(verdicts: Sequence[Verdict]) -> Group:
    """Return every verdict with its statement, figures and source, and how many of each."""
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
        for line in verdict.reading.said:
            lines.append(f"  {line}\n", style="dim")
        lines.rstrip()
        parts += [head, Padding(lines, (0, 0, 1, 2))]
    return Group(*parts, Text(summary(verdicts)))


def figures(verdict: Verdict) -> list[str]:
    """Return each criterion with what was measured, then the other quantities."""
    lines, shown = [], set()
    for criterion, word in zip(verdict.claim.criteria, verdict.by_criterion, strict=True):
        found = verdict.intervals.get(criterion.quantity)
        said = "nothing measured" if found is None else in_words(found, verdict.claim.unit)
        shown.add(criterion.quantity)
        lines.append(
            f"{criterion}: {said}" + (f" ({word})" if len(verdict.by_criterion) > 1 else "")
        )
    gates = {gate.criterion.quantity: gate.criterion for gate in verdict.claim.gates}
    for name, found in verdict.intervals.items():
        if name in gates and name not in shown:
            met = "" if _met(verdict, gates[name]) else " (not met)"
            lines.append(f"gate: {gates[name]}: {in_words(found, '')}{met}")
        elif name not in shown:
            lines.append(f"{name}: {in_words(found, verdict.claim.unit)}")
    return lines


def _met(verdict: Verdict, gate: Criterion) -> bool:
    return gate.judge(verdict.reading.quantities.get(gate.quantity, ())) == HOLDS


def in_words(found: Interval, unit: str) -> str:
    """Return a figure with its interval."""
    if found.low is None or found.high is None:
        return f"{number(found.mean)} {unit} (too few seeds for an interval)".replace("  ", " ")
    if found.low == found.high:
        return f"{number(found.mean)} {unit}".rstrip()
    ends = f"[{number(found.low)}, {number(found.high)}]"
    return f"{number(found.mean)} {unit} {ends}".replace("  ", " ")


def number(value: float) -> str:
    """Return a number in three decimals, or in powers of ten where those say nothing."""
    if value and (abs(value) < SMALL or abs(value) >= 1e4):
        return f"{value:.1e}"
    return f"{value:,.3f}" if abs(value) < 100 else f"{value:,.0f}"


def summary(verdicts: Sequence[Verdict]) -> str:
    """Return how many claims came out how."""
    counts = Counter(verdict.word for verdict in verdicts)
    words = ", ".join(f"{counts[word]} {word}" for word in STYLES if counts[word])
    return f"{len(verdicts)} claim{'s' * (len(verdicts) != 1)}: {words}"


def markdown(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as a table in Markdown: what was measured beside the source's own."""
    rows = [
        [
            f"**{verdict.claim.name}**: {verdict.claim.statement}",
            verdict.word,
            "\n".join(_short(verdict)),
            f"{_author(verdict.claim)}: {verdict.claim.theirs}",
        ]
        for verdict in verdicts
    ]
    return Table(["claim", "verdict", "measured here", "theirs"], rows, left=WORDS).markdown()


def _short(verdict: Verdict) -> list[str]:
    """Return what was measured for each criterion, and of gates those that are not met."""
    lines = []
    for criterion, word in zip(verdict.claim.criteria, verdict.by_criterion, strict=True):
        found = verdict.intervals.get(criterion.quantity)
        figure = "nothing measured" if found is None else in_words(found, "")
        mark = "" if word == verdict.word else f" ({word})"
        lines.append(f"{criterion.quantity}: {figure}; threshold {criterion.threshold}{mark}")
    gates = {gate.criterion: None for gate in verdict.claim.gates}  # in order, each once
    for gate in gates if verdict.word == NOT_TESTABLE else ():
        found = verdict.intervals.get(gate.quantity)
        if found is not None and not _met(verdict, gate):
            figure = in_words(found, "")
            lines.append(f"gate: {gate.quantity}: {figure}; threshold {gate.threshold}")
    return [*lines, *verdict.reasons]


def _author(claim: Claim) -> str:
    """Return who says so, and when: the source up to its place."""
    return re.split(r"[,;:(]", claim.source, maxsplit=1)[0].strip()


def listing(claims: Sequence[Claim], plan: Plan) -> RenderableType:
    """Return the claims with their criteria, seeds and what each costs by itself."""
    rows = []
    for claim in claims:
        own = claim.plan(plan)
        criteria = "; ".join(str(criterion) for criterion in claim.criteria)
        seconds = readable_seconds(sum(work.seconds for work in claim.works(own)))
        rows.append([claim.name, claim.statement, criteria, str(own.seeds), seconds])
    columns = ["claim", "statement", "criteria", "seeds", "time, one thread"]
    return Table(columns, rows, left=WORDS).terminal()
