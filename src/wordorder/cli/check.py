"""`wordorder check`: the conformance kit on any positional embedding, ours or a user's."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from wordorder.cli.options.check import read_options
from wordorder.errors import BadInput
from wordorder.positions.conformance import CHECKS, Report, check
from wordorder.table import Table

BROKEN = 3
MARKS = {True: ("holds", "green"), False: ("broken", "bold red"), None: ("-", "dim")}


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    options = read_options(arguments)
    if unknown := [name for name in options.only if name not in CHECKS]:
        raise BadInput(f"--only {unknown[0]!r}: the properties are {', '.join(CHECKS)}")
    if not options.heads:
        raise BadInput("--heads names none: give head counts, as 1 6 8")
    causal = not options.bidirectional
    report = check(options.spec, heads=options.heads, causal=causal, only=options.only)
    if options.json:
        print(json.dumps({"holds": report.holds, **asdict(report)}))
    else:
        _show(report)
    return 0 if report.holds else BROKEN


def _show(report: Report) -> None:
    rows: list[list[str | Text]] = []
    for finding in report.findings:
        mark, style = MARKS[finding.holds]
        said = Text(finding.statement)
        if finding.detail:
            said.append(f"\n{finding.detail}", style="red" if finding.holds is False else "dim")
        rows.append([Text(mark, style=style), finding.name, said])
    console = Console(highlight=False)
    console.print(Text(report.embedding, style="bold"))
    console.print(Table(["", "", ""], rows, left=frozenset({0, 1, 2})).terminal())
    console.print(f"broken: {', '.join(report.broken)}" if report.broken else "all hold")
