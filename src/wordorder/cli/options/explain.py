"""The options of `wordorder explain`. Imports no torch, so that --help answers at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from wordorder.cli.arguments import parse


@dataclass(frozen=True)
class ExplainOptions:
    """Show what a model makes of a text and of its words in another order, number by number.

    From text to tokens, ids, word vectors and positions, side by side, then where positions act
    and what comes out.

    Args:
        run: the run folder that `wordorder train` wrote.
        text: two words or more, or text without spaces, of which tokens are taken for words.
        other: what to set beside it; by default its words from the last to the first.
        trust: run the code of an embedding of one's own that the run names.
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
