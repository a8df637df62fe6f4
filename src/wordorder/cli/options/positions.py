"""The options of `wordorder positions`. Imports no torch, so that --help answers at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from wordorder.cli.arguments import parse


@dataclass(frozen=True)
class PositionsOptions:
    """List the positional embeddings and their facts, or show all about one.

    Args:
        spec: an embedding of the list, as rotary:base=500000, or mymodule.MyEmbedding of one's
            own; of several, as learned+alibi, each.
        json: print one JSON object, by name.
    """

    spec: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[SPEC]")] = None
    json: tyro.conf.FlagCreatePairsOff[bool] = False


def read_options(arguments: list[str]) -> PositionsOptions:
    """Return the options that were typed; --help prints them and leaves."""
    return parse(PositionsOptions, arguments, command="wordorder positions")
