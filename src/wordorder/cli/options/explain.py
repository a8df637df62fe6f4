"""The options of `wordorder explain`. Imports no torch, so that --help is fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from wordorder.cli.arguments import parse
from wordorder.settings import NotNegative, PathName, Positive


@dataclass(frozen=True)
class ExplainOptions:
    """Compare how a model reads a text and the same words in another order.

    Shows the model's numbers at each step: tokens, ids, token embeddings, positions, and outputs.

    Args:
        run: the run folder that `wordorder train` wrote.
        text: at least two words, or a text without spaces, whose tokens count as words.
        other: the same words in another order; by default reversed.
        layer: show the attention of this layer, from 1; 0: the first in which an embedding acts.
        head: show the attention of this head, from 1.
        trust: run the code of a user-defined embedding in the run.
        json: print one JSON object, with every vector in full.
    """

    run: Annotated[PathName, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    text: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[TEXT]")] = "I love AI"
    other: str | None = None
    layer: NotNegative = 0
    head: Positive = 1
    trust: tyro.conf.FlagCreatePairsOff[bool] = False
    json: tyro.conf.FlagCreatePairsOff[bool] = False


def read_options(arguments: list[str]) -> ExplainOptions:
    """Parse the arguments; --help prints the help and exits."""
    return parse(ExplainOptions, arguments, command="wordorder explain")
