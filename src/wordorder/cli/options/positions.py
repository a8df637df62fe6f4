"""The options of `wordorder positions`. Imports no torch, so that --help is fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from wordorder.cli.arguments import parse
from wordorder.errors import BadInput


@dataclass(frozen=True)
class PositionsOptions:
    """List the positional embeddings and their properties, describe or draw one, or choose one.

    Args:
        spec: an embedding, such as rotary:base=500000, or your own mymodule.MyEmbedding; of a
            combination such as learned+alibi each one is described. With --picture also a run
            folder, whose embedding is drawn before and after training.
        picture: draw what the embedding does, and print the path of the picture.
        out: the picture's file (.png or .svg); by default position-SPEC.png in the current
            folder, or position.png in the run folder.
        trust: run the code of a user-defined embedding in the run.
        choose: ask a few questions, and print the embedding to choose with its evidence and the
            commands to type.
        answers: with --choose, answers to its questions, such as
            purpose=ship,load=llama.cpp,longer=no,reads=causal,task=text; the other questions are
            asked.
        json: print one JSON object, by name.
    """

    spec: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[SPEC|RUN]")] = None
    picture: tyro.conf.FlagCreatePairsOff[bool] = False
    out: str | None = None
    trust: tyro.conf.FlagCreatePairsOff[bool] = False
    choose: tyro.conf.FlagCreatePairsOff[bool] = False
    answers: str | None = None
    json: tyro.conf.FlagCreatePairsOff[bool] = False


def read_options(arguments: list[str]) -> PositionsOptions:
    """Parse the arguments; --help prints the help and exits."""
    options = parse(PositionsOptions, arguments, command="wordorder positions")
    _check(options)
    return options


def _check(options: PositionsOptions) -> None:
    """Check that options which need each other are set together.

    Raises:
        BadInput: one of them is missing.
    """
    if options.picture and options.spec is None:
        raise BadInput(
            "--picture needs an embedding or a run: wordorder positions rotary --picture",
            code="cli.picture-of-nothing",
        )
    if options.out is not None and not options.picture:
        raise BadInput(
            "--out is the file of --picture: add --picture, or leave out --out",
            code="cli.out-without-picture",
        )
    if options.out is not None and not options.out.endswith((".png", ".svg")):
        raise BadInput(
            f"--out {options.out}: its name must end in .png or .svg", code="cli.picture-suffix"
        )
    if options.choose and (options.spec is not None or options.picture):
        raise BadInput(
            "--choose finds an embedding: leave out the embedding and --picture",
            code="cli.choose-of-something",
        )
    if options.answers is not None and not options.choose:
        raise BadInput(
            "--answers belongs to the questions of --choose: add --choose, or leave out --answers",
            code="cli.answers-without-choose",
        )
