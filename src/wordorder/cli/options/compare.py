"""The options of `wordorder compare`. Imports no torch, so that --help is fast.

Defaults that are constants in modules with torch are repeated here; a test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import tyro
from annotated_types import Interval
from tyro.conf import Suppress as Hidden

from wordorder.cli.arguments import parse
from wordorder.cli.run_options import (
    ModelOptions,
    RunOptions,
    check_overruled,
    defaults,
    only_typed,
)
from wordorder.settings import DataName, PathName, Positive, Threads
from wordorder.text.objective import TemplateName


@dataclass(frozen=True)
class _Model(ModelOptions):
    position: Annotated[str, Hidden] = "rotary"
    causal: Annotated[bool, Hidden] = True


@dataclass(frozen=True)
class _Run(RunOptions):
    model: _Model = field(default_factory=_Model)
    data: tuple[DataName, ...] = ("python-docs",)
    """python-docs, files, folders, hf:NAME[:CONFIG][:SPLIT], or a store of wordorder data
    --store"""
    out: PathName | None = None
    """folder of the comparison; by default runs/compare"""
    chat_template: Annotated[TemplateName, Hidden] = "auto"
    shard: Annotated[bool, Hidden] = False
    init: Annotated[PathName | None, Hidden] = None
    objective: Annotated[Literal["next-token", "masked-token"], Hidden] = "next-token"
    sample_prompt: Annotated[str, Hidden] = ""
    tensorboard: Annotated[bool, Hidden] = False
    keep: Annotated[Literal["best", "last"], Hidden] = "last"  # judged at a stated step
    average: Annotated[Literal["none", "ema", "tail"], Hidden] = "none"


@dataclass(frozen=True)
class CompareOptions:
    """Train the same model with several positional embeddings and compare them statistically.

    Repeating the command reuses finished runs: embeddings and seeds are added to the existing
    ones, and other lengths are measured without training. Without --time, --steps, --tokens or
    --epochs, each run takes two minutes.

    Args:
        positions: specs, such as none rotary:base=500000 learned+alibi or your own embedding.
        baseline: the embedding that the others are compared to; by default rotary, if included.
        seeds: runs per embedding; one gives no intervals, 0 trains nothing.
        lengths: contexts to measure, as multiples of the trained length; 1 is always measured.
        pack: let contexts longer than a document continue in the next one.
        tune_lr: tune the learning rates of each embedding, by shorter runs on development text.
        processes: number of simultaneous runs, which share the cores; 0: measure which is fastest.
        launcher: submit runs with submitit: slurm, to a Slurm cluster whose machines share the
            files; local, to try it on this machine. By default they are processes of this command.
        slurm_options: what each job asks for, as time=60 (minutes) cpus=4 gpus=1 memory=16 (GB)
            partition=NAME account=NAME qos=NAME constraint=NAME jobs=64 (submitted at a time).
        preset: sizes of the model: nano, tiny, mini, small or medium; other options override it.
        config: a YAML file with options by name, such as trained_length: 128; typed options
            override it.
        json: print the result as one JSON object.
        train: settings of all runs; --seed is the first of the seeds.
    """

    positions: tuple[str, ...] = ("none", "sinusoidal", "learned", "rotary", "alibi", "t5")
    baseline: str | None = None
    seeds: Annotated[int, Interval(ge=0, le=10_000)] = 3
    lengths: tuple[Positive, ...] = (1, 2, 4, 8, 16)
    pack: tyro.conf.FlagCreatePairsOff[bool] = False
    tune_lr: tyro.conf.FlagCreatePairsOff[bool] = False
    processes: Threads = 0
    launcher: Literal["local", "slurm"] | None = None
    slurm_options: tuple[str, ...] = ()
    preset: Literal["nano", "tiny", "mini", "small", "medium"] | None = None
    config: PathName | None = None
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    train: _Run = field(default_factory=_Run)


def read_options(arguments: list[str]) -> CompareOptions:
    """Parse the arguments; --help prints the help and exits."""
    typed = {word.partition("=")[0] for word in arguments}
    own = {"trained_length": 64, "batch_size": 32}
    sizes = {} if typed & {"--preset", "--config"} else own
    given = defaults(arguments, "nano", _Run, only_typed(CompareOptions), **sizes)
    values: dict[str, Any] = {"preset": given.preset, "train": given.run}
    options = parse(
        tyro.conf.OmitArgPrefixes[CompareOptions],
        arguments,
        command="wordorder compare",
        default=CompareOptions(**values),
    )
    check_overruled(given, options.train)
    return options
