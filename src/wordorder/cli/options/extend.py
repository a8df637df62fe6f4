"""The options of `wordorder extend`. Imports no torch, so that --help is fast.

Defaults that are constants in modules with torch are repeated here; a test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro
from annotated_types import Gt

from wordorder.cli.arguments import parse, refuse_typed, typed_names
from wordorder.errors import BadInput
from wordorder.settings import (
    DataName,
    Device,
    Duration,
    Epochs,
    NotNegative,
    PathName,
    Positive,
    Rate,
    Seed,
    TokenCount,
)
from wordorder.training.config import LENGTHS

WITH_RESUME = ("run", "resume", "parent", "inexact", "device", "trust", "json")


@dataclass(frozen=True)
class ExtendOptions:
    """Extend a trained model to a longer context, as a new run.

    Without --steps, --tokens, --epochs or --time only the options of the embedding change, and the
    weights stay. With one of them the new run is fine-tuned at the new length.

    Args:
        run: the run folder that `wordorder train` wrote; with --resume, the new run folder.
        to: the new length, such as 4x or 8192; required, except with --resume.
        method: auto tries all applicable methods and takes the best; or unchanged, interpolate,
            ntk, dynamic-ntk, yarn, yarn-published, longrope, llama3, base, drop, self-extend,
            resample.
        steps: fine-tune for this many steps.
        tokens: fine-tune on this many tokens, such as 500K.
        epochs: fine-tune for this many passes over the training text, such as 0.5.
        time: fine-tune for this time, such as 5m.
        out: the new run folder; by default the name of the run with the new length.
        overwrite: replace an existing run folder.
        data: the text, on whose validation part everything is measured; by default the run's own.
        field: column of tables and datasets that holds the text.
        pack: let windows continue from one document into the next.
        base: for --method base: the new base; by default the smallest for the new length, or the
            old base times the factor if that is larger.
        neighbours: for --method self-extend: number of nearest tokens at their exact distance; by
            default half of the trained length.
        rate: learning rates of the fine-tuning, as a share of those of the run.
        batch_size: sequences in a batch of the fine-tuning; by default as many tokens per step as
            in the run.
        seed: seed of the fine-tuning batches; by default different from that of the run.
        retrieval: kinds of retrieval to measure: passkey, multi-key, variable-tracking, recall; or
            none.
        resume: resume an extension that was stopped.
        parent: with --resume: the folder of the original run, if it has moved.
        inexact: with --resume: resume even if the result cannot be the same bit for bit.
        device: auto, cpu, cuda or mps.
        trust: run the code of a user-defined embedding in the run.
        json: print one JSON object instead of tables.
    """

    run: Annotated[PathName, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    to: str = ""
    method: str = "auto"
    steps: Positive | None = None
    tokens: TokenCount | None = None
    epochs: Epochs | None = None
    time: Duration | None = None
    out: PathName | None = None
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    data: tuple[DataName, ...] = ()
    field: str | None = None
    pack: tyro.conf.FlagCreatePairsOff[bool] = False
    base: Rate = 0.0
    neighbours: NotNegative = 0
    rate: Annotated[float, Gt(0)] = 0.1
    batch_size: NotNegative = 0
    seed: Seed | None = None
    retrieval: tuple[str, ...] = ("passkey", "recall")
    resume: tyro.conf.FlagCreatePairsOff[bool] = False
    parent: PathName | None = None
    inexact: tyro.conf.FlagCreatePairsOff[bool] = False
    device: Device = "auto"
    trust: tyro.conf.FlagCreatePairsOff[bool] = False
    json: tyro.conf.FlagCreatePairsOff[bool] = False


def read_options(arguments: list[str]) -> ExtendOptions:
    """Parse the arguments; --help prints the help and exits."""
    options = parse(ExtendOptions, arguments, command="wordorder extend")
    method, lengths = options.method, [getattr(options, name) for name in LENGTHS]
    alone = {name for name in ExtendOptions.__dataclass_fields__ if name not in WITH_RESUME}
    refuse_typed(
        typed_names(arguments),
        (
            not options.resume,
            "parent inexact",
            BadInput(
                "{} has an effect only with --resume: leave it out", code="cli.extend-needs-resume"
            ),
        ),
        (
            options.resume,
            " ".join(sorted(alone)),
            BadInput(
                "--resume uses the settings of the extension: leave out {}",
                code="cli.extend-resume-option",
            ),
        ),
        (
            method not in ("auto", "base"),
            "base",
            BadInput(
                "{} has an effect only with --method base: leave it out",
                code="cli.extend-needs-base",
            ),
        ),
        (
            method not in ("auto", "self-extend"),
            "neighbours",
            BadInput(
                "{} has an effect only with --method self-extend: leave it out",
                code="cli.extend-needs-self-extend",
            ),
        ),
        (
            lengths == [None] * len(LENGTHS),
            "rate batch_size seed",
            BadInput(
                "{} needs fine-tuning: add --steps, --tokens, --epochs or --time, or leave it out",
                code="cli.extend-needs-fine-tuning",
            ),
        ),
    )
    return options
