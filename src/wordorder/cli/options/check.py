"""The options of `wordorder check`. Imports no torch, so that --help is fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro
from annotated_types import Interval

from wordorder.cli.arguments import parse


@dataclass(frozen=True)
class CheckOptions:
    """Check every property that a positional embedding must have.

    Args:
        spec: an embedding, such as rotary:base=500000, or your own mymodule.MyEmbedding.
        heads: numbers of heads to check it with.
        bidirectional: check it in a bidirectional model.
        only: names of the properties to check; by default all.
        json: print one JSON object instead of a table.
    """

    spec: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SPEC")]
    heads: tuple[Annotated[int, Interval(ge=1, le=1024)], ...] = (1, 6, 8)
    bidirectional: tyro.conf.FlagCreatePairsOff[bool] = False
    only: tuple[str, ...] = ()
    json: tyro.conf.FlagCreatePairsOff[bool] = False


def read_options(arguments: list[str]) -> CheckOptions:
    """Parse the arguments; --help prints the help and exits."""
    return parse(CheckOptions, arguments, command="wordorder check")
