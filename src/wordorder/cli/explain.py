"""`wordorder explain`: shows on one screen how a model encodes order, with its own numbers."""

from __future__ import annotations

import json
from dataclasses import asdict

import torch

from wordorder.cli.opened import open_run
from wordorder.cli.options.explain import read_options
from wordorder.numerals import counted
from wordorder.text.user_text import decode_argument
from wordorder.training.run import Run
from wordorder.words.explain_view import page
from wordorder.words.explanation import explain


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = read_options(arguments)
    run = open_run(options.run, trust=options.trust)
    run.check_predicts("explain")
    text = decode_argument(options.text, "the text")
    other = None if options.other is None else decode_argument(options.other, "--other")
    explained = explain(
        run.model,
        run.tokenizer,
        text,
        other,
        fills_in=run.fills_in,
        layer=options.layer - 1 if options.layer else None,
        head=options.head - 1,
    )
    if options.json:
        print(
            json.dumps({"run": str(run.folder), **asdict(explained)}, default=torch.Tensor.tolist)
        )
    else:
        print("\n".join(page(explained, _about(run))))
    return 0


def _about(run: Run) -> str:
    """Return a description of a run in one line."""
    config = run.model_config.resolved
    kind = "GRU" if config.kind == "gru" else "transformer"
    position = "" if config.kind == "gru" else f", position {config.position}"
    direction = "" if config.causal else ", bidirectional"
    layers = f"{counted(config.layers, 'layer')} of width {config.width}"
    return f"{run.folder}: {kind} of {layers}{position}{direction}"
