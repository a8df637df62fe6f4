"""`wordorder compare`: compares positional embeddings statistically.

The verdict and the table go to stdout. Progress goes to stderr: bars in a terminal, otherwise one
line per finished run.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

from rich.console import Console

from wordorder.cli.options.compare import read_options
from wordorder.cli.runs_bar import RunsBar
from wordorder.experiments.compare import CompareConfig, compare
from wordorder.experiments.report import for_terminal, write_report
from wordorder.text.user_text import user_path


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = read_options(arguments)
    train = options.train.plain()
    config = CompareConfig(
        train=replace(train, out=None, overwrite=False),
        positions=options.positions,
        baseline=options.baseline,
        seeds=options.seeds,
        lengths=options.lengths,
        pack=options.pack,
        tune=options.tune_lr,
        processes=options.processes,
        out=train.out or "runs/compare",
        overwrite=train.overwrite,
    )
    command = shlex.join(["wordorder", "compare", *arguments])
    show, folder = RunsBar(), user_path(config.out)
    with show.closing(folder):
        folder = compare(config, show=show, command=command)
    summary = write_report(folder)
    if options.json:
        print(json.dumps({"folder": str(folder), **summary.to_dict()}))
    else:
        Console(highlight=False).print(for_terminal(summary))
        print(f"\n{folder / 'report.html'}")
    return 0
