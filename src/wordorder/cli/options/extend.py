"""The options of `wordorder extend`. Imports no torch, so that --help answers at once.

Defaults that are constants of modules with torch are written out; a test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro
from annotated_types import Gt

from wordorder.cli.arguments import parse, refuse_typed, typed_names
from wordorder.settings import Device, Duration, NotNegative, Positive, Rate, Seed

WITH_RESUME = ("run", "resume", "parent", "inexact", "device", "trust", "json")


@dataclass(frozen=True)
class ExtendOptions:
    """Make a trained model reach past the length it was trained on, as a new run.

    Without --steps, --tokens or --time nothing is trained: the embedding is spelled anew and the
    weights stay. With one of them the new run is fine-tuned at the new length.

    Args:
        run: the run folder that `wordorder train` wrote; with --resume, the new run's.
        to: the new length, as 4x or 8192.
        method: auto tries all that fit and takes the best; or unchanged, interpolate, ntk,
            dynamic-ntk, yarn, yarn-published, longrope, llama3, base, drop, self-extend, resample.
        steps: fine-tune for so many steps.
        tokens: fine-tune on so many tokens.
        time: fine-tune for so long, as 5m.
        out: the new run's folder; by default the run's name with the new length.
        overwrite: replace what is there.
        data: the text, whose held-out part everything is measured on; by default the run's own.
        field: column of tables and datasets that holds the text.
        pack: let windows begin in one document and end in another.
        base: of --method base; by default the smallest that serves the new length.
        neighbours: of --method self-extend: tokens seen at their own distance; by default half of
            the trained length.
        rate: learning rates of the fine-tune, as a share of the run's own.
        batch_size: sequences at once in the fine-tune; by default as many tokens a step as the
            run had.
        seed: of the fine-tune's batches; by default another than the run's.
        retrieval: what is to be found again, of passkey, multi-key, variable-tracking, recall;
            none to leave it out.
        resume: go on with an extension that was stopped.
        parent: with --resume: where the run that it came from is now.
        inexact: with --resume: go on also where it cannot be to the bit.
        device: auto, cpu, cuda or mps.
        trust: run the code of an embedding of one's own that the run names.
        json: print one JSON object instead of tables.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    to: str = ""
    method: str = "auto"
    steps: Positive | None = None
    tokens: Positive | None = None
    time: Duration | None = None
    out: str | None = None
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    data: tuple[str, ...] = ()
    field: str | None = None
    pack: tyro.conf.FlagCreatePairsOff[bool] = False
    base: Rate = 0.0
    neighbours: NotNegative = 0
    rate: Annotated[float, Gt(0)] = 0.1
    batch_size: NotNegative = 0
    seed: Seed | None = None
    retrieval: tuple[str, ...] = ("passkey", "recall")
    resume: tyro.conf.FlagCreatePairsOff[bool] = False
    parent: str | None = None
    inexact: tyro.conf.FlagCreatePairsOff[bool] = False
    device: Device = "auto"
    trust: tyro.conf.FlagCreatePairsOff[bool] = False
    json: tyro.conf.FlagCreatePairsOff[bool] = False


def read_options(arguments: list[str]) -> ExtendOptions:
    """Return the options that were typed; --help prints them and leaves."""
    options = parse(ExtendOptions, arguments, command="wordorder extend")
    method, lengths = options.method, (options.steps, options.tokens, options.time)
    alone = {name for name in ExtendOptions.__dataclass_fields__ if name not in WITH_RESUME}
    refuse_typed(
        typed_names(arguments),
        (not options.resume, "parent inexact", "{} is of --resume: leave it out"),
        (
            options.resume,
            " ".join(sorted(alone)),
            "--resume goes on as the extension was asked for: leave out {}",
        ),
        (method not in ("auto", "base"), "base", "{} is of --method base: leave it out"),
        (
            method not in ("auto", "self-extend"),
            "neighbours",
            "{} is of --method self-extend: leave it out",
        ),
        (
            lengths == (None, None, None),
            "rate batch_size seed",
            "{} is of a fine-tune: add --steps, --tokens or --time, or leave it out",
        ),
    )
    return options
