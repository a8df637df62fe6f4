"""The options of `wordorder positions`. Imports no torch, so that --help is fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from wordorder.cli.arguments import parse


@dataclass(frozen=True)
class PositionsOptions:
    """List the positional embeddings and their properties, or describe one in detail.

    Args:
        spec: an embedding, such as rotary:base=500000, or your own mymodule.MyEmbedding; of a
            combination such as learned+alibi each one is described.
        json: print one JSON object, by name.
    """

    spec: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[SPEC]")] = None
    json: tyro.conf.FlagCreatePairsOff[bool] = False


def read_options(arguments: list[str]) -> PositionsOptions:
    """Parse the arguments; --help prints the help and exits."""
    return parse(PositionsOptions, arguments, command="wordorder positions")
