"""The options of `wordorder compare`. Imports no torch, so that --help answers at once.

Defaults that are constants of modules with torch are written out; a test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro
from annotated_types import Interval

from wordorder.cli.arguments import parse
from wordorder.cli.run_options import ModelOptions, RunOptions, check_overruled, defaults
from wordorder.settings import Positive, Threads

Hidden = tyro.conf.Suppress


@dataclass(frozen=True)
class _Model(ModelOptions):
    position: Annotated[str, Hidden] = "rotary"


@dataclass(frozen=True)
class _Run(RunOptions):
    model: _Model = field(default_factory=_Model)
    init: Annotated[str | None, Hidden] = None
    objective: Annotated[Literal["next-token", "masked-token"], Hidden] = "next-token"
    sample_prompt: Annotated[str, Hidden] = ""
    tensorboard: Annotated[bool, Hidden] = False
    keep: Annotated[Literal["best", "last"], Hidden] = "last"  # judged at a stated step


@dataclass(frozen=True)
class CompareOptions:
    """Train the same model with several positional embeddings and say what differs.

    Asked again, it goes on: runs that are done are reused, and embeddings and seeds are added
    to those there; other lengths are measured anew without training. Without --time, --steps or
    --tokens a run takes two minutes alone.

    Args:
        positions: specs, such as none rotary:base=500000 learned+alibi or one of your own.
        baseline: what differences are taken to; by default rotary where it is compared.
        seeds: how many runs of each; one gives no intervals, 0 trains nothing.
        lengths: contexts to measure, in trained lengths.
        pack: longer contexts than the documents have may cross into others.
        tune_lr: choose the learning rates for each embedding, by shorter runs on development text.
        processes: runs at once, which share the cores; 0 measures how many are done soonest.
        preset: sizes of the model: nano, tiny, mini, small or medium; other options win.
        config: a YAML file with options by name, as trained_length: 128; the command line wins.
        json: print the result as one JSON object.
        train: what all runs share; --seed is the first of the seeds.
    """

    positions: tuple[str, ...] = ("none", "sinusoidal", "learned", "rotary", "alibi", "t5")
    baseline: str | None = None
    seeds: Annotated[int, Interval(ge=0, le=10_000)] = 3
    lengths: tuple[Positive, ...] = (1, 2, 4, 8, 16)
    pack: tyro.conf.FlagCreatePairsOff[bool] = False
    tune_lr: tyro.conf.FlagCreatePairsOff[bool] = False
    processes: Threads = 0
    preset: Literal["nano", "tiny", "mini", "small", "medium"] | None = None
    config: str | None = None
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    train: _Run = field(default_factory=_Run)


def read_options(arguments: list[str]) -> CompareOptions:
    """Return the options that were typed; --help prints them and leaves."""
    typed = {word.partition("=")[0] for word in arguments}
    own = {"trained_length": 64, "batch_size": 32}
    sizes = {} if typed & {"--preset", "--config"} else own
    given = defaults(arguments, "nano", _Run, **sizes)
    options = parse(
        tyro.conf.OmitArgPrefixes[CompareOptions],
        arguments,
        command="wordorder compare",
        default=CompareOptions(preset=given.preset, train=given.run),
    )
    check_overruled(given, options.train)
    return options
