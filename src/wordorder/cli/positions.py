"""`wordorder positions`: the positional embeddings there are, and the facts about each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wordorder.cli.arguments import parse
from wordorder.model import LanguageModel, ModelConfig
from wordorder.positions import CATALOGUE, ModelShape, Position


@dataclass(frozen=True)
class PositionsOptions:
    """List the positional embeddings and their facts.

    Args:
        json: print one JSON object, by name.
    """

    json: tyro.conf.FlagCreatePairsOff[bool] = False


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    options = parse(PositionsOptions, arguments, command="wordorder positions")
    found = {name: facts(name, kind) for name, kind in CATALOGUE.items()}
    if options.json:
        print(json.dumps(found))
    else:
        _show(found)
    return 0


def facts(name: str, kind: type[Position]) -> dict[str, Any]:
    """Return what an embedding declares, and what it adds to the default model."""
    config = ModelConfig(position=name).resolved
    shape = ModelShape(
        config.heads,
        config.head_dim,
        config.width,
        config.layers,
        config.trained_length,
        config.causal,
    )
    made = kind(shape)
    return {
        "summary": kind.summary,
        "door": kind.door,
        "options": dict(kind.options()),
        "absolute": made.absolute,
        "shift_invariant": made.shift_invariant,
        "additive": made.additive,
        "static_rotation": made.static_rotation,
        "shared": made.shared,
        "longest": made.longest,
        "parameters": LanguageModel(config).parameter_counts()["position"],
        "source": kind.source,
    }


def _show(found: dict[str, dict[str, Any]]) -> None:
    console = Console(highlight=False)
    for name, about in found.items():
        console.print(Text(name, style="bold"), Text(about["summary"]), sep="  ")
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
        table.add_column(style="dim")
        table.add_column()
        options = ", ".join(f"{key}={value}" for key, value in about["options"].items())
        sees = "positions themselves" if about["absolute"] else "distances only"
        if about["door"] == "none":
            sees = "nothing: what order a causal model sees comes from its mask"
        added = about["parameters"]
        table.add_row("acts on", {"none": "nothing"}.get(about["door"], about["door"]))
        table.add_row("sees", sees)
        table.add_row("options", options or "none")
        table.add_row("adds", f"{added:,} parameters" if added else "no parameters")
        if about["longest"] is not None:
            table.add_row("longest", f"position {about['longest']:,} (the trained length - 1)")
        if about["source"]:
            table.add_row("source", about["source"])
        console.print(table)
    console.print(
        "\nCombine them: learned+alibi acts at once in every layer, rotary/none is a pattern over\n"
        "layers; options follow a colon: wordorder train --position rotary:base=500000,fraction=0.5"
    )
