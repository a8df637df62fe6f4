"""`wordorder explain`: how order gets into a model, in one screen and with its own numbers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Annotated

import torch
import tyro

from wordorder.cli.arguments import parse
from wordorder.numerals import counted
from wordorder.training.run import Run
from wordorder.words.explanation import explain
from wordorder.words.screen import page
from wordorder.words.sentences import reversed_words


@dataclass(frozen=True)
class ExplainOptions:
    """Show what a model makes of a text and of its words in another order, number by number.

    From text to tokens, ids, word vectors and positions, side by side, then where positions act
    and what comes out.

    Args:
        run: the run folder that `wordorder train` wrote.
        text: two words or more.
        other: what to set beside it; by default its words from the last to the first.
        trust: run the code of an embedding of one's own that the run names.
        json: print one JSON object, with every vector in full.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    text: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[TEXT]")] = "I love AI"
    other: str | None = None
    trust: tyro.conf.FlagCreatePairsOff[bool] = False
    json: tyro.conf.FlagCreatePairsOff[bool] = False


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    options = parse(ExplainOptions, arguments, command="wordorder explain")
    run = Run.load(options.run, trust=options.trust)
    other = reversed_words(options.text) if options.other is None else options.other
    explained = explain(run.model, run.tokenizer, options.text, other)
    if options.json:
        print(
            json.dumps({"run": str(run.folder), **asdict(explained)}, default=torch.Tensor.tolist)
        )
    else:
        print("\n".join(page(explained, _about(run))))
    return 0


def _about(run: Run) -> str:
    """A run in a line."""
    config = run.model_config.resolved
    what = "GRU" if config.kind == "gru" else "transformer"
    position = "" if config.kind == "gru" else f", position {config.position}"
    sides = "" if config.causal else ", reading both ways"
    layers = f"{counted(config.layers, 'layer')} of width {config.width}"
    return f"{run.folder}: {what} of {layers}{position}{sides}"
