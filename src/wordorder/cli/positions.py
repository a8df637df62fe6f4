"""`wordorder positions`: the positional embeddings there are, and all about one of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from wordorder.cli.arguments import parse
from wordorder.model import ModelConfig
from wordorder.positions import CATALOGUE, Position, build, find
from wordorder.positions.base import overrides
from wordorder.positions.picture import placed, sparkline, weights_of_copies

COPIES = 48


@dataclass(frozen=True)
class PositionsOptions:
    """List the positional embeddings and their facts, or show all about one.

    Args:
        name: an embedding of the list, or mymodule.MyEmbedding of one's own.
        json: print one JSON object, by name.
    """

    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME]")] = None
    json: tyro.conf.FlagCreatePairsOff[bool] = False


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    options = parse(PositionsOptions, arguments, command="wordorder positions")
    chosen = CATALOGUE if options.name is None else {options.name: find(options.name)}
    found = {name: facts(name, kind) for name, kind in chosen.items()}
    console = Console(highlight=False)
    if options.json:
        print(json.dumps(found))
    elif options.name is not None:
        _show_one(console, options.name, chosen[options.name], found[options.name])
    else:
        _show_all(console, found)
    return 0


def facts(name: str, kind: type[Position]) -> dict[str, Any]:
    """Return what an embedding declares, and what it adds to the default model."""
    shape = ModelConfig(position=name).shape
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
        "places": overrides(made, "place"),
        "longest": made.longest,
        "parameters": sum(p.numel() for p in build(name, shape).parameters()),
        "source": kind.source,
        "formula": kind.formula,
        "traps": list(kind.traps),
    }


def rows(about: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the facts as a person reads them."""
    options = ", ".join(f"{key}={_written(value)}" for key, value in about["options"].items())
    sees = "positions themselves" if about["absolute"] else "distances only"
    if about["places"]:
        sees = "nothing itself: it says which positions training feeds"
    elif about["door"] == "none":
        sees = "nothing: what order a causal model sees comes from its mask"
    added = about["parameters"]
    lines = [
        ("acts on", {"none": "nothing", "row": "the whole row"}.get(about["door"], about["door"])),
        ("sees", sees),
        ("options", options or "none"),
        ("adds", f"{added:,} parameters to the default model" if added else "no parameters"),
    ]
    if about["longest"] is not None:
        lines.append(("longest", f"position {about['longest']:,} (the trained length - 1)"))
    if about["source"]:
        lines.append(("source", about["source"]))
    return lines


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "[" + ",".join(map(str, value)) + "]" if isinstance(value, tuple) else str(value)


def _show_all(console: Console, found: dict[str, dict[str, Any]]) -> None:
    for name, about in found.items():
        console.print(Text.assemble((name, "bold"), "  ", about["summary"]))
        console.print(_table(about))
    console.print(
        "\nwordorder positions NAME shows one: its formula, its traps, what it does to attention.\n"
        "Combine them: learned+alibi acts at once in every layer, rotary/none is a pattern over\n"
        "layers; options follow a colon: wordorder train --position rotary:base=500000,fraction=0.5"
    )


def _table(about: dict[str, Any]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    table.add_column(style="dim")
    table.add_column()
    for what, value in rows(about):
        table.add_row(what, Text(value))
    return table


def _show_one(console: Console, name: str, kind: type[Position], about: dict[str, Any]) -> None:
    console.print(Text.assemble((name, "bold"), "  ", about["summary"]))
    console.print(_table(about))
    if about["formula"]:
        console.print(Text("\nFormula", style="bold"))
        console.print(Padding(Text(about["formula"]), (0, 2)))
    console.print(Text("\nWhat it does", style="bold"))
    console.print(Padding(Text("\n".join(_picture(kind))), (0, 2)))
    if about["traps"]:
        console.print(Text("\nTraps", style="bold"))
        for trap in about["traps"]:
            console.print(Padding(Text(f"- {trap}"), (0, 2)))


def _picture(kind: type[Position]) -> list[str]:
    """Return lines that show how copies of one word are attended to, or which positions are fed."""
    weights = weights_of_copies(kind, COPIES)
    if weights is not None:
        lines = [
            f"The last of {COPIES} copies of one word attends to them so (the nearest",
            "on the right; what is trained has its first values):",
        ]
        for head, each in enumerate(weights, 1):
            lines.append(f"head {head}  {sparkline(each)}  {100 * float(each.max()):.1f}%")
        return lines
    positions = placed(kind)
    if positions == list(range(len(positions))):
        return ["It changes values too: no picture of weights alone."]
    return [f"Training feeds {len(positions)} words positions such as", f"{positions}"]
