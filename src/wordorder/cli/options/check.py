"""The options of `wordorder check`. Imports no torch, so that --help answers at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro
from annotated_types import Interval

from wordorder.cli.arguments import parse


@dataclass(frozen=True)
class CheckOptions:
    """Try every property that a positional embedding must have, on any of them.

    Args:
        spec: an embedding, as rotary:base=500000, or mymodule.MyEmbedding of one's own.
        heads: head counts to try it with.
        bidirectional: in a model that sees the future.
        only: names of the properties to try; all by default.
        json: print one JSON object instead of a table.
    """

    spec: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SPEC")]
    heads: tuple[Annotated[int, Interval(ge=1, le=1024)], ...] = (1, 6, 8)
    bidirectional: tyro.conf.FlagCreatePairsOff[bool] = False
    only: tuple[str, ...] = ()
    json: tyro.conf.FlagCreatePairsOff[bool] = False


def read_options(arguments: list[str]) -> CheckOptions:
    """Return the options that were typed; --help prints them and leaves."""
    return parse(CheckOptions, arguments, command="wordorder check")
