"""`wordorder compare`: compares positional embeddings statistically.

The verdict and the table go to stdout. Progress goes to stderr: bars in a terminal, otherwise one
line per finished run.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, replace

from wordorder.cli.options.compare import read_options
from wordorder.cli.printed import screen
from wordorder.cli.runs_bar import RunsBar
from wordorder.errors import Failed
from wordorder.experiments.cluster import launcher_of
from wordorder.experiments.compare import CompareConfig, compare
from wordorder.experiments.report import for_terminal, write_report
from wordorder.experiments.verdict import verdict
from wordorder.numerals import counted
from wordorder.text.user_text import named_folder


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = read_options(arguments)
    train = options.train.plain()
    folder = named_folder(train.out or "runs/compare")
    at_once = options.processes
    cluster = launcher_of(options.launcher, options.slurm_options, folder, at_once=at_once)
    config = CompareConfig(
        train=replace(train, out=None, overwrite=False),
        positions=options.positions,
        baseline=options.baseline,
        seeds=options.seeds,
        lengths=options.lengths,
        pack=options.pack,
        tune=options.tune_lr,
        processes=0 if cluster else at_once,
        out=train.out or "runs/compare",
        overwrite=train.overwrite,
    )
    command = shlex.join(["wordorder", "compare", *arguments])
    show = RunsBar()
    with show.closing(folder, cluster.after_stopping if cluster else ""):
        compare(config, show=show, command=command, cluster=cluster)
    summary = write_report(folder)
    if options.json:
        sentences = asdict(verdict(summary))
        print(json.dumps({"folder": str(folder), "verdict": sentences, **summary.to_dict()}))
    else:
        screen().print(for_terminal(summary))
        print(f"\n{folder / 'report.html'}")
    failed = [(r.position, seed) for r in summary.results for seed, _ in r.failed]
    if failed:
        runs = counted(len(summary.results) * summary.seeds, "run")
        raise Failed(
            f"{len(failed)} of {runs} failed, {failed[0][0]} with seed {failed[0][1]} first: the "
            "report says why, and the same command tries again what was not trained",
            code="cli.compare-failed",
        )
    return 0
