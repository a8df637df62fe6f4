"""The options of `wordorder probe`. Imports no torch, so that --help is fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from wordorder.cli.arguments import parse
from wordorder.settings import DataName, Device, PathName, Seed


@dataclass(frozen=True)
class ProbeOptions:
    """Measure what a trained model knows about order.

    Args:
        run: the run folder that `wordorder train` wrote.
        data: files, folders, python-docs or hf:NAME to probe on; by default the validation part of
            the run's text.
        field: column of tables and datasets that holds the text.
        only: the parts to measure: order, removed, attention, position, sentences; by default all.
        pairs: .jsonl files of minimal pairs, plain or compressed, with the fields sentence_good and
            sentence_bad, as in BLiMP.
        seed: seed of the shuffles.
        device: auto, cpu, cuda or mps.
        trust: run the code of a user-defined embedding in the run.
        json: print one JSON object instead of tables.
    """

    run: Annotated[PathName, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    data: tuple[DataName, ...] = ()
    field: str = "text"
    only: tuple[str, ...] = ()
    pairs: tuple[PathName, ...] = ()
    seed: Seed = 0
    device: Device = "auto"
    trust: tyro.conf.FlagCreatePairsOff[bool] = False
    json: tyro.conf.FlagCreatePairsOff[bool] = False


def read_options(arguments: list[str]) -> ProbeOptions:
    """Parse the arguments; --help prints the help and exits."""
    return parse(ProbeOptions, arguments, command="wordorder probe")
