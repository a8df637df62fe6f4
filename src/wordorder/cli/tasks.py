"""`wordorder tasks`: which positional embedding still answers right past its trained length.

The verdict and the tables go to stdout; how far it is goes to stderr, as a bar in a terminal
and as a line for every run that ends elsewhere.
"""

from __future__ import annotations

import json
import shlex

from rich.console import Console

from wordorder.cli.options.tasks import read_options
from wordorder.cli.runs_bar import RunsBar
from wordorder.errors import BadInput, Failed
from wordorder.experiments.algorithms import TASKS
from wordorder.experiments.task_report import for_terminal, write_report
from wordorder.experiments.tasks import DEFAULT_TASKS, TasksConfig, run_tasks
from wordorder.numerals import counted
from wordorder.text.user_text import user_path


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    options = read_options(arguments)
    if options.all and options.tasks != DEFAULT_TASKS:
        raise BadInput("--all is every task and --tasks some: give one of the two")
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
    try:
        run_tasks(config, show=show, command=shlex.join(["wordorder", "tasks", *arguments]))
    except KeyboardInterrupt:
        show.close()
        show.say(f"stopped: what is done is kept, and the same command goes on with {folder}")
        raise
    finally:
        show.close()
    found = write_report(folder)
    if options.json:
        print(json.dumps({"folder": str(folder), **found.to_dict()}))
    else:
        Console(highlight=False).print(for_terminal(found))
        print(f"\n{folder / 'report.html'}")
    if found.failed:
        raise Failed(
            f"{len(found.failed)} of {counted(len(config.jobs()), 'run')} failed, the first "
            f"{found.failed[0]}"
        )
    return 0
