"""`wordorder check`: runs the conformance checks on any positional embedding."""

from __future__ import annotations

import difflib
import json
from dataclasses import asdict

from rich.text import Text

from wordorder.cli.options.check import read_options
from wordorder.cli.printed import screen
from wordorder.errors import BadInput
from wordorder.positions.conformance import CHECKS, Report, check
from wordorder.table import Table

BROKEN = 3
MARKS = {True: ("holds", "green"), False: ("broken", "bold red"), None: ("-", "dim")}


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = read_options(arguments)
    spelled = {name.replace(" ", "-"): name for name in CHECKS}  # typed without quotes
    only = tuple(spelled.get(name, name) for name in options.only)
    if unknown := [name for name in only if name not in CHECKS]:
        near = difflib.get_close_matches(unknown[0], spelled, n=1)
        hint = f"did you mean {near[0]}?" if near else f"use {', '.join(spelled)}"
        raise BadInput(
            f"--only {unknown[0]!r} is not a property: {hint}",
            code="cli.check-unknown-property",
        )
    if not options.heads:
        raise BadInput(
            "--heads has no value: give numbers of heads, such as 1 6 8", code="cli.check-no-heads"
        )
    causal = not options.bidirectional
    report = check(options.spec, heads=options.heads, causal=causal, only=only)
    if options.json:
        print(json.dumps({"holds": report.holds, **asdict(report)}))
    else:
        _show(report)
    return 0 if report.holds else BROKEN


def _show(report: Report) -> None:
    rows: list[list[str | Text]] = []
    for finding in report.findings:
        mark, style = MARKS[finding.holds]
        statement = Text(finding.statement)
        if finding.detail:
            detail_style = "red" if finding.holds is False else "dim"
            statement.append(f"\n{finding.detail}", style=detail_style)
        rows.append([Text(mark, style=style), finding.name, statement])
    console = screen()
    console.print(Text(report.embedding, style="bold"))
    console.print(Table(["", "", ""], rows, left=frozenset({0, 1, 2})).terminal())
    console.print(f"broken: {', '.join(report.broken)}" if report.broken else "all hold")
