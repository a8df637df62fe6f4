"""The options of `wordorder explain`. Imports no torch, so that --help answers at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from wordorder.cli.arguments import parse


@dataclass(frozen=True)
class ExplainOptions:
    """Show how a model reads a text and the same words in another order, side by side.

    The model's own numbers at each step: tokens, ids, word vectors, positions, and the outputs.

    Args:
        run: the run folder that `wordorder train` wrote.
        text: two words or more, or a text without spaces, whose tokens count as words.
        other: the other order; by default the words reversed.
        trust: run the code of your own embedding that the run names.
        json: print one JSON object, with every vector in full.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    text: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[TEXT]")] = "I love AI"
    other: str | None = None
    trust: tyro.conf.FlagCreatePairsOff[bool] = False
    json: tyro.conf.FlagCreatePairsOff[bool] = False


def read_options(arguments: list[str]) -> ExplainOptions:
    """Return the options that were typed; --help prints them and leaves."""
    return parse(ExplainOptions, arguments, command="wordorder explain")
