"""The options of `wordorder probe`. Imports no torch, so that --help answers at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from wordorder.cli.arguments import parse
from wordorder.settings import Device, Seed


@dataclass(frozen=True)
class ProbeOptions:
    """Find out what a trained model knows of order.

    Args:
        run: the run folder that `wordorder train` wrote.
        data: files, folders, python-docs or hf:NAME to probe on; by default the part of the
            run's own text that it was not trained on.
        field: column of tables and datasets that holds the text.
        only: parts, of order, removed, attention, position, sentences; all by default.
        pairs: .jsonl files of minimal pairs, plain or .gz, with the fields sentence_good and
            sentence_bad, as BLiMP's.
        seed: of what is shuffled.
        device: auto, cpu, cuda or mps.
        trust: run the code of an embedding of one's own that the run names.
        json: print one JSON object instead of tables.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    data: tuple[str, ...] = ()
    field: str = "text"
    only: tuple[str, ...] = ()
    pairs: tuple[str, ...] = ()
    seed: Seed = 0
    device: Device = "auto"
    trust: tyro.conf.FlagCreatePairsOff[bool] = False
    json: tyro.conf.FlagCreatePairsOff[bool] = False


def read_options(arguments: list[str]) -> ProbeOptions:
    """Return the options that were typed; --help prints them and leaves."""
    return parse(ProbeOptions, arguments, command="wordorder probe")
