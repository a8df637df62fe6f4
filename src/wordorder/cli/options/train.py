"""The options of `wordorder train`. Imports no torch, so that --help is fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import tyro
from annotated_types import Interval

from wordorder.cli.arguments import parse
from wordorder.cli.run_options import RunOptions, check_overruled, defaults, only_typed
from wordorder.errors import BadInput
from wordorder.settings import PathName


@dataclass(frozen=True)
class TrainOptions:
    """Train a language model on text, or resume a run with --resume.

    Args:
        preset: sizes of the model: nano, tiny, mini, small or medium; other options override it.
            FAMILY-SIZE, such as gpt2-nano, is an architecture that export --to hf can write as a
            stock class: llama, qwen3, mistral, gemma3, smollm3, gpt2, neox, bloom, mpt, bert or
            modernbert. auto chooses a size by the text and --time, and is tiny if a size, --steps,
            --tokens or --epochs is set.
        config: a YAML file with options by name, such as trained_length: 128; typed options
            override it.
        resume: resume the run in this folder, with the same result bit for bit; if its text was
            moved, --data says where it is now.
        inexact: with --resume: resume even if the result cannot be the same bit for bit.
        trust: with --resume or --init: run the code of a user-defined embedding in the run.
        find_learning_rate: instead of training, run short trials with multiples of both learning
            rates, and print the development loss of each and the command for the best; their folder
            is that of the run with -rates appended.
        ranks: processes that share each batch, started on this machine by PyTorch's torchrun. For
            several machines start torchrun yourself: torchrun ... -m wordorder train ...
        max_restarts: how often all ranks are started again after one of them has failed; they
            continue from the last checkpoint.
        json: print the result as one JSON object.
        train: the run
    """

    preset: str = "auto"
    config: PathName | None = None
    resume: PathName | None = None
    inexact: tyro.conf.FlagCreatePairsOff[bool] = False
    trust: tyro.conf.FlagCreatePairsOff[bool] = False
    find_learning_rate: tyro.conf.FlagCreatePairsOff[bool] = False
    ranks: Annotated[int, Interval(ge=1, le=4096)] = 1
    max_restarts: Annotated[int, Interval(ge=0, le=1000)] = 0
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    train: RunOptions = field(default_factory=RunOptions)


def read_options(arguments: list[str]) -> TrainOptions:
    """Parse the arguments; --help prints the help and exits."""
    given = defaults(arguments, typed_alone=only_typed(TrainOptions))
    options = parse(
        tyro.conf.OmitArgPrefixes[TrainOptions],
        arguments,
        command="wordorder train",
        default=TrainOptions(preset=given.preset or "auto", train=given.run),
    )
    if options.resume is None:
        if options.inexact:
            raise BadInput(
                "--inexact has an effect only with --resume RUN: leave it out",
                code="cli.train-inexact-alone",
            )
        check_overruled(given, options.train)
    if options.find_learning_rate:
        _check_search(options)
    return options


def _check_search(options: TrainOptions) -> None:
    """Check that the options of a learning-rate search can be used together.

    Raises:
        BadInput: the search is of a run that is resumed, shared by ranks, or without a size.
    """
    refused = {
        "--resume": options.resume is not None,
        "--ranks": options.ranks > 1,
        "--max-restarts": options.max_restarts > 0,
        "--shard": options.train.shard,
    }
    for name in (name for name, is_set in refused.items() if is_set):
        raise BadInput(
            f"--find-learning-rate trains short runs of one process from their start: leave out "
            f"{name}",
            code="cli.search-option",
        )
    lengths = (options.train.steps, options.train.tokens, options.train.epochs)
    if options.train.auto_size and lengths == (None, None, None):
        raise BadInput(
            "--find-learning-rate needs a size, because learning rates depend on it, and --preset "
            "auto chooses it by the time: add --preset nano, tiny, mini, small or medium",
            code="cli.search-without-size",
        )
