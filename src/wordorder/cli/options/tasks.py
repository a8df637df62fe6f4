"""The options of `wordorder tasks`. Imports no torch, so that --help is fast.

Defaults that are constants in modules with torch are repeated here; a test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import tyro

from wordorder.cli.arguments import parse
from wordorder.settings import PathName, Positive, Repetitions


@dataclass(frozen=True)
class TasksOptions:
    """Train small models on algorithmic tasks and test them past their trained length.

    Repeating the command reuses finished runs: tasks, embeddings and seeds are added to the
    existing ones.

    Args:
        tasks: some of copy, repeat, reverse, sort, addition, addition-reversed, parity, count,
            associative-recall, selective-copy, flip-flop.
        positions: specs, such as none rotary:base=500000 learned+alibi or your own embedding.
        seeds: runs per task and embedding; one gives no measure of variation.
        steps: training steps; the default depends on the task.
        length: the longest trained length; the default depends on the task.
        all: run every task; the expected time is printed first.
        out: the folder for the results.
        overwrite: replace the results in that folder.
        launcher: submit runs with submitit: slurm, to a Slurm cluster whose machines share the
            files; local, to try it on this machine. By default they are processes of this command.
        slurm_options: what each job asks for, as time=60 (minutes) cpus=4 gpus=1 memory=16 (GB)
            partition=NAME account=NAME qos=NAME constraint=NAME jobs=64 (submitted at a time).
        json: print the result as one JSON object.
    """

    tasks: tuple[str, ...] = ("copy", "repeat", "reverse", "sort")
    positions: tuple[str, ...] = ("none", "sinusoidal", "rotary", "alibi", "t5")
    seeds: Repetitions = 3
    steps: Positive | None = None
    length: Positive | None = None
    all: tyro.conf.FlagCreatePairsOff[bool] = False
    out: PathName = "runs/tasks"
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    launcher: Literal["local", "slurm"] | None = None
    slurm_options: tuple[str, ...] = ()
    json: tyro.conf.FlagCreatePairsOff[bool] = False


def read_options(arguments: list[str]) -> TasksOptions:
    """Parse the arguments; --help prints the help and exits."""
    return parse(TasksOptions, arguments, command="wordorder tasks")
