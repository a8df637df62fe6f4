"""`wordorder tasks`: tests length generalisation of positional embeddings on algorithmic tasks.

The verdict and the tables go to stdout. Progress goes to stderr: a bar in a terminal, otherwise one
line per finished run.
"""

from __future__ import annotations

import json
import shlex

from wordorder.cli.options.tasks import read_options
from wordorder.cli.printed import screen
from wordorder.cli.runs_bar import RunsBar
from wordorder.errors import BadInput, Failed
from wordorder.experiments.algorithms import TASKS
from wordorder.experiments.cluster import launcher_of
from wordorder.experiments.task_report import for_terminal, write_report
from wordorder.experiments.tasks import DEFAULT_TASKS, TasksConfig, run_tasks
from wordorder.numerals import counted
from wordorder.text.user_text import user_path


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = read_options(arguments)
    if options.all and options.tasks != DEFAULT_TASKS:
        raise BadInput(
            "--all and --tasks both choose the tasks: give one of them", code="cli.tasks-all"
        )
    config = TasksConfig(
        tasks=tuple(TASKS) if options.all else options.tasks,
        positions=options.positions,
        seeds=options.seeds,
        steps=options.steps,
        length=options.length,
        out=options.out,
        overwrite=options.overwrite,
    )
    show, folder = RunsBar(), user_path(config.out)
    command = shlex.join(["wordorder", "tasks", *arguments])
    cluster = launcher_of(options.launcher, options.slurm_options, folder)
    with show.closing(folder, cluster.after_stopping if cluster else ""):
        run_tasks(config, show=show, command=command, launcher=cluster)
    report = write_report(folder)
    if options.json:
        print(json.dumps({"folder": str(folder), **report.to_dict()}))
    else:
        screen().print(for_terminal(report))
        print(f"\n{folder / 'report.html'}")
    if report.failed:
        raise Failed(
            f"{len(report.failed)} of {counted(len(config.jobs()), 'run')} failed; the first is "
            f"{report.failed[0]}: the same command tries them again",
            code="cli.tasks-failed",
        )
    return 0
