"""The options of `wordorder train`. Imports no torch, so that --help answers at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import tyro

from wordorder.cli.arguments import parse
from wordorder.cli.run_options import RunOptions, check_overruled, defaults
from wordorder.errors import BadInput


@dataclass(frozen=True)
class TrainOptions:
    """Train a language model on text, or --resume a run.

    Args:
        preset: sizes of the model: nano, tiny, mini, small or medium, which other options change;
            auto chooses one by the text and the --time, and is tiny where a size or --steps is
            given.
        config: a YAML file with options by name, as trained_length: 128; the command line wins.
        resume: go on with the run in this folder, to the bit.
        inexact: with --resume: go on also where it cannot be to the bit.
        trust: with --resume or --init: run the code of an embedding that the run names.
        json: print the result as one JSON object.
        train: the run
    """

    preset: Literal["auto", "nano", "tiny", "mini", "small", "medium"] = "auto"
    config: str | None = None
    resume: str | None = None
    inexact: tyro.conf.FlagCreatePairsOff[bool] = False
    trust: tyro.conf.FlagCreatePairsOff[bool] = False
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    train: RunOptions = field(default_factory=RunOptions)


def read_options(arguments: list[str]) -> TrainOptions:
    """Return the options that were typed; --help prints them and leaves."""
    given = defaults(arguments)
    options = parse(
        tyro.conf.OmitArgPrefixes[TrainOptions],
        arguments,
        command="wordorder train",
        default=TrainOptions(preset=given.preset or "auto", train=given.run),
    )
    if options.resume is None:
        if options.inexact:
            raise BadInput("--inexact goes with --resume RUN: leave it out")
        check_overruled(given, options.train)
    return options
