"""The options of `wordorder claims`. Imports no torch, so that --help is fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import tyro

from wordorder.cli.arguments import parse, refuse_typed, typed_names
from wordorder.errors import BadInput
from wordorder.settings import DataName, Duration, PathName, Positive, Repetitions


@dataclass(frozen=True)
class ClaimsOptions:
    """Test published claims about positional embeddings, from the article and the literature.

    Each claim has a criterion that was fixed before its experiment. The verdict is: holds;
    direction only (the effect has the claimed sign but misses the threshold); does not hold;
    undecided (the interval contains the threshold); or not testable at this size (the experiment
    cannot decide it; the verdict says what would). Repeating the command reuses finished runs.

    Args:
        only: names of claims, or article or literature; by default all.
        budget: test only the claims that fit into this time, such as 10m, in order.
        list: list the claims without training.
        seeds: runs of each model; by default three, or more for claims that need more. With one
            seed there are no intervals, so few claims can be decided.
        steps: optimizer steps of each language model.
        data: the text that language models are trained on.
        languages: two files with the same sentences line by line, for the claims on two
            languages; by default English and a copy of it with other tokens.
        words: word vectors, or a large text to train them on, for the claims on analogies.
        questions: a file of analogies in the format of questions-words.txt.
        out: the folder for the results.
        overwrite: replace the contents of that folder.
        launcher: submit runs with submitit: slurm, to a Slurm cluster whose machines share the
            files; local, to try it on this machine. By default they are processes of this command.
        slurm_options: what each job asks for, as time=60 (minutes) cpus=4 gpus=1 memory=16 (GB)
            partition=NAME account=NAME qos=NAME constraint=NAME jobs=64 (submitted at a time).
        strict: exit with code 3 unless every claim holds.
        json: print one JSON object instead of a table.
        markdown: print a table in Markdown.
    """

    only: tuple[str, ...] = ()
    budget: Duration | None = None
    list: tyro.conf.FlagCreatePairsOff[bool] = False
    seeds: Repetitions | None = None
    steps: Positive = 300
    data: tuple[DataName, ...] = ("python-docs",)
    languages: tuple[PathName, ...] = ()
    words: tuple[PathName, ...] = ()
    questions: PathName | None = None
    out: PathName = "runs/claims"
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    launcher: Literal["local", "slurm"] | None = None
    slurm_options: tuple[str, ...] = ()
    strict: tyro.conf.FlagCreatePairsOff[bool] = False
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    markdown: tyro.conf.FlagCreatePairsOff[bool] = False


def read_options(arguments: list[str]) -> ClaimsOptions:
    """Parse the arguments; --help prints the help and exits."""
    options = parse(ClaimsOptions, arguments, command="wordorder claims")
    refuse_typed(
        typed_names(arguments),
        (
            options.json,
            "markdown",
            BadInput(
                "{} and --json both set the output format: give one of them",
                code="cli.claims-two-formats",
            ),
        ),
    )
    return options
