"""`wordorder extend`: extends a trained model to a longer context, as a new run.

The tables go to stdout, and with a plot into the new run folder. The last line of stdout is that
folder. Progress goes to stderr.
"""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict, fields
from typing import Any

from rich.progress import Progress
from rich.text import Text

from wordorder.allocator import keep_large_blocks
from wordorder.cli.options.extend import ExtendOptions, read_options
from wordorder.cli.printed import screen
from wordorder.cli.progress import transient_progress
from wordorder.cli.train import Terminal
from wordorder.errors import BadInput
from wordorder.extension.base_bound import served_length, smallest_base
from wordorder.extension.display import ExtensionDisplay
from wordorder.extension.extend import Extended, Extension, extend, go_on
from wordorder.extension.method_search import MethodResult, StreamingResult
from wordorder.extension.methods import base_of, rotary_part, turning_pairs
from wordorder.extension.reach import verdict
from wordorder.extension.report import write_report
from wordorder.extension.tables import of_methods, tables
from wordorder.model import ModelConfig
from wordorder.table import Table


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    keep_large_blocks()
    options = read_options(arguments)
    show = Screen(quiet=options.json)
    try:
        if options.resume:
            extended = go_on(
                options.run,
                show,
                parent=options.parent,
                inexact=options.inexact,
                device=options.device,
                trust=options.trust,
            )
        else:
            command = shlex.join(["wordorder", "extend", *arguments])
            extended = extend(_asked(options), show, trust=options.trust, command=command)
    finally:
        show.close()
    write_report(extended)
    if options.json:
        print(json.dumps(_plain(extended)))
        return 0
    for table in tables(extended):
        show.table(table)
    if bound := _bound(extended.run.model_config):
        show.console.print(Text(bound, style="dim"))
    print(extended.run.folder)
    return 0


def _asked(options: ExtendOptions) -> Extension:
    if not options.to:
        raise BadInput(
            "--to is missing: give the new length, such as --to 4x or --to 8192",
            code="cli.extend-no-length",
        )
    values = {f.name: getattr(options, f.name) for f in fields(Extension)}
    if options.retrieval == ("none",):
        values["retrieval"] = ()
    return Extension(**values)


def _plain(extended: Extended) -> dict[str, Any]:
    return {
        "run": str(extended.run.folder),
        "parent": str(extended.parent.folder),
        **extended.run.config["extension"],
        "position": extended.run.model_config.position,
        "before": asdict(extended.before),
        "after": asdict(extended.after),
        "verdict": verdict(extended.before.context, extended.after.context),
    }


def _bound(model: ModelConfig) -> str | None:
    """Return the length that a rotary embedding's base serves, for this model's head size.

    None where the frequencies are not those of the base alone: scaled, or proportional.
    """
    part = rotary_part(model)
    options = dict(part.options) if part else {}
    if part is None or options.get("proportional") or options.get("scaling", "none") != "none":
        return None
    base, pairs = base_of(part), turning_pairs(part, model.rotated_dim)
    needed = smallest_base(model.trained_length, pairs)
    return (
        f"Base {base:g} with {pairs} rotated pairs favours similar keys up to "
        f"{served_length(base, pairs):,} tokens; {model.trained_length:,} need a base of "
        f"{needed or float('inf'):,.0f} (Men et al. 2024: a bound on what can be found, not on "
        "the loss)"
    )


class Screen(ExtensionDisplay):
    """Shows a progress bar for measurements, training progress, and tables on stdout."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = screen()
        self.training = Terminal()
        self.quiet = quiet
        self.bar: Progress | None = None

    def say(self, line: str) -> None:
        self.close()
        print(line, file=sys.stderr)

    def progress(self, share: float, what: str) -> None:
        if self.bar is None:
            self.bar = transient_progress()
            self.bar.start()
            self.task = self.bar.add_task("", total=1.0)
        self.bar.update(self.task, completed=share, description=what)
        if share >= 1:
            self.close()

    def close(self) -> None:
        """Remove the progress bar."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def tried(
        self,
        tried: list[MethodResult],
        streamed: list[StreamingResult],
        old: int,
        new: int,
        chosen_on: str,
    ) -> None:
        self.close()
        if not self.quiet:
            self.table(of_methods(tried, streamed, old, new, chosen_on))

    def table(self, table: Table) -> None:
        """Print a table on stdout."""
        self.console.print(table.terminal())
        self.console.print()
