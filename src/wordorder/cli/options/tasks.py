"""The options of `wordorder tasks`. Imports no torch, so that --help answers at once.

Defaults that are constants of modules with torch are written out; a test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from wordorder.cli.arguments import parse
from wordorder.settings import Positive, Repetitions


@dataclass(frozen=True)
class TasksOptions:
    """Train small models on algorithmic tasks and test them past their trained length.

    Asked again, it goes on: runs that are done are reused, and tasks, embeddings and seeds are
    added to those there.

    Args:
        tasks: of copy, repeat, reverse, sort, addition, addition-reversed, parity, count,
            associative-recall, selective-copy, flip-flop.
        positions: specs, such as none rotary:base=500000 learned+alibi or one of your own.
        seeds: how many runs of each; one gives no idea of how much chance there is.
        steps: how long to train; by default each task's own number.
        length: the longest length that is trained on; by default each task's own.
        all: every task; how long it takes is said first.
        out: the folder.
        overwrite: replace the results in the folder.
        json: print the result as one JSON object.
    """

    tasks: tuple[str, ...] = ("copy", "repeat", "reverse", "sort")
    positions: tuple[str, ...] = ("none", "sinusoidal", "rotary", "alibi", "t5")
    seeds: Repetitions = 3
    steps: Positive | None = None
    length: Positive | None = None
    all: tyro.conf.FlagCreatePairsOff[bool] = False
    out: str = "runs/tasks"
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    json: tyro.conf.FlagCreatePairsOff[bool] = False


def read_options(arguments: list[str]) -> TasksOptions:
    """Return the options that were typed; --help prints them and leaves."""
    return parse(TasksOptions, arguments, command="wordorder tasks")
