"""`wordorder check`: the conformance kit on any positional embedding, ours or a user's."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wordorder.cli.arguments import parse
from wordorder.errors import BadInput
from wordorder.positions.conformance import PROPERTIES, Report, check

BROKEN = 3
MARKS = {True: ("holds", "green"), False: ("broken", "bold red"), None: ("-", "dim")}


@dataclass(frozen=True)
class CheckOptions:
    """Try every property that a positional embedding must have, on any of them.

    Args:
        spec: an embedding, as rotary:base=500000, or mymodule.MyEmbedding of one's own.
        heads: head counts to try it with.
        bidirectional: in a model that sees the future.
        only: names of the properties to try; all by default.
        json: print one JSON object instead of a table.
    """

    spec: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SPEC")]
    heads: tuple[int, ...] = (1, 6, 8)
    bidirectional: tyro.conf.FlagCreatePairsOff[bool] = False
    only: tuple[str, ...] = ()
    json: tyro.conf.FlagCreatePairsOff[bool] = False


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    options = parse(CheckOptions, arguments, command="wordorder check")
    if unknown := [name for name in options.only if name not in PROPERTIES]:
        raise BadInput(f"--only {unknown[0]!r}: the properties are {', '.join(PROPERTIES)}")
    if not options.heads or min(options.heads) < 1:
        raise BadInput(f"--heads {options.heads}: each must be at least 1")
    causal = not options.bidirectional
    report = check(options.spec, heads=options.heads, causal=causal, only=options.only)
    if options.json:
        print(json.dumps({"holds": report.holds, **asdict(report)}))
    else:
        _show(report)
    return 0 if report.holds else BROKEN


def _show(report: Report) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for finding in report.findings:
        mark, style = MARKS[finding.holds]
        said = Text(finding.statement)
        if finding.detail:
            said.append(f"\n{finding.detail}", style="red" if finding.holds is False else "dim")
        table.add_row(Text(mark, style=style), finding.name, said)
    console = Console(highlight=False)
    console.print(Text(report.embedding, style="bold"))
    console.print(table)
    console.print(f"broken: {', '.join(report.broken)}" if report.broken else "all hold")
