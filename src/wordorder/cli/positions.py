"""`wordorder positions`: lists the positional embeddings, describes some, or draws them."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from wordorder.cli.options.positions import read_options
from wordorder.cli.position_choice import choose_position
from wordorder.cli.position_picture import draw_positions
from wordorder.cli.printed import screen
from wordorder.interop.holders import exports_of_position
from wordorder.model import ModelConfig
from wordorder.numerals import counted
from wordorder.positions import ALIASES, CATALOGUE, Part, Spec, build, find
from wordorder.positions import parse as parse_spec
from wordorder.positions.picture import (
    initialised,
    sparkline,
    training_positions,
    weights_of_copies,
)
from wordorder.positions.recipes import PREFIX, RECIPES
from wordorder.table import Table

COPIES = 48


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = read_options(arguments)
    if options.choose:
        return choose_position(options.answers, as_json=options.json)
    if options.picture:
        return draw_positions(options)
    parts = map(Part, CATALOGUE) if options.spec is None else parse_spec(options.spec).parts
    chosen = {str(part): part for part in parts}
    described = {name: facts(part) for name, part in chosen.items()}
    console = screen()
    if options.json:
        print(json.dumps(described))
    elif options.spec is None:
        _show_all(console, described)
    else:
        _show_recipe(console, options.spec)
        for name, part in chosen.items():
            _show_one(console, part, described[name])
    return 0


def facts(part: Part) -> dict[str, Any]:
    """Return the declarations of an embedding, and its parameters in the default model."""
    shape, spec = ModelConfig(position=str(part)).shape, Spec(((part,),))
    kind, built = find(part.name), build(spec, shape)
    position = built.embeddings[0]
    return {
        "summary": kind.summary,
        "aliases": [alias for alias, name in ALIASES.items() if name == part.name],
        "door": kind.door,
        "options": {**kind.options(), **dict(part.options)},
        "resolved": dict(position.resolved_options()),
        "follows": {each.option: each._asdict() for each in kind.follows},
        "absolute": position.absolute,
        "shift_invariant": position.shift_invariant,
        "additive": position.additive,
        "static_rotation": position.static_rotation,
        "shared": position.shared,
        "tells_order": position.tells_order,
        "places": "sample_positions" in position.active_hooks(),
        "longest": position.max_position,
        "exports": exports_of_position(ModelConfig(position=str(part))),
        "parameters": sum(p.numel() for p in built.parameters()),
        "source": kind.source,
        "formula": kind.formula,
        "traps": list(kind.traps),
    }


def rows(about: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the facts of an embedding as (name, value) rows."""
    values = {**about["options"], **about["resolved"]}
    options = ", ".join(f"{key}={_written(value)}" for key, value in values.items())
    sees = "absolute positions" if about["absolute"] else "relative positions only"
    if about["places"]:
        sees = "nothing itself: it samples the positions used in training"
    elif about["door"] == "none":
        sees = "nothing: the order that a causal model sees comes from its mask"
    elif not about["tells_order"]:
        sees = "no order: combine it with another embedding, or rely on the causal mask"
    added, model = about["parameters"], ModelConfig()
    whole = f"the default model ({model.layers} layers, {model.heads} heads)"
    lines = [
        *([("also called", ", ".join(about["aliases"]))] if about["aliases"] else []),
        ("acts on", {"none": "nothing", "row": "the whole row"}.get(about["door"], about["door"])),
        ("sees", sees),
        ("options", options or "none"),
        ("adds", f"{counted(added, 'parameter')} to {whole}" if added else "no parameters"),
    ]
    if following := _following(about):
        lines.append(("by default", f"for {model.trained_length} tokens: {following}"))
    if about["longest"] is not None:
        trained = about["longest"] == model.trained_length - 1
        whose = " (the trained length - 1)" if trained else ""
        lines.append(("longest", f"position {about['longest']:,}{whose}"))
    lines.append(("exports", about["exports"]))
    if about["source"]:
        lines.append(("source", about["source"]))
    return lines


def _following(about: dict[str, Any]) -> str:
    """Return the options left at 0: their resolved values, the rules, and the paper's values."""
    lines = []
    for name, value in about["resolved"].items():
        each = about["follows"].get(name)
        if each and not about["options"][name]:
            paper = f"; the paper's: {each['paper']:g}" if each["paper"] else ""
            lines.append(f"{name}={_written(value)} ({each['rule']}{paper})")
    return ", ".join(lines)


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return "[" + ",".join(map(str, value)) + "]" if isinstance(value, tuple) else str(value)


def _show_all(console: Console, described: dict[str, dict[str, Any]]) -> None:
    for name, about in described.items():
        console.print(Text.assemble((name, "bold"), "  ", about["summary"]))
        console.print(_table(about))
    console.print(
        "\nwordorder positions SPEC describes one: its formula, its traps, its effect on "
        "attention.\nCombine them: learned+alibi uses both in every layer, rotary/none alternates "
        "over layers.\nOptions follow a colon: wordorder train --position "
        "rotary:base=500000,fraction=0.5\n"
        "Common other names work too: rope is rotary, nope is none.\n"
        f"{PREFIX}NAME is the embedding of a known model: {', '.join(RECIPES)}"
    )


def _show_recipe(console: Console, spec: str) -> None:
    """Print the spec, context length, source and windows of a recipe."""
    recipe = RECIPES.get(spec.strip().lower().removeprefix(PREFIX))
    if not spec.strip().lower().startswith(PREFIX) or recipe is None:
        return
    console.print(Text.assemble((spec, "bold"), "  ", recipe.spec), soft_wrap=True)
    lines = [("made for", f"{recipe.length:,} tokens"), ("source", recipe.source)]
    if recipe.windows:
        lines.append(("with it", f"--windows {' '.join(map(str, recipe.windows))}"))
    table = Table(["", ""], lines, left=frozenset({0, 1}), column_styles={0: "dim"}, gap=4)
    console.print(Padding(table.terminal(), (0, 0, 1, 2), expand=False))


def _table(about: dict[str, Any]) -> Padding:
    table = Table(["", ""], rows(about), left=frozenset({0, 1}), column_styles={0: "dim"}, gap=4)
    return Padding(table.terminal(), (0, 0, 0, 2), expand=False)


def _show_one(console: Console, part: Part, about: dict[str, Any]) -> None:
    console.print(Text.assemble((str(part), "bold"), "  ", about["summary"]))
    console.print(_table(about))
    if about["formula"]:
        console.print(Text("\nFormula", style="bold"))
        console.print(Padding(Text(about["formula"]), (0, 2)))
    console.print(Text("\nWhat it does", style="bold"))
    console.print(Padding(Text("\n".join(_picture(part))), (0, 2)))
    if about["traps"]:
        console.print(Text("\nTraps", style="bold"))
        for trap in about["traps"]:
            console.print(Padding(Text(f"- {trap}"), (0, 2)))


def _picture(part: Part) -> list[str]:
    """Return lines that plot the attention to identical tokens, or list sampled positions."""
    position = build(Spec(((part,),)), ModelConfig(position=str(part)).shape).embeddings[0]
    weights = weights_of_copies(initialised(position), COPIES)
    if weights is not None:
        lines = [
            f"attention of the last of {weights.shape[1]} identical tokens (the nearest on the",
            "right), parameters at initialisation:",
        ]
        for head, each in enumerate(weights, 1):
            lines.append(f"head {head}  {sparkline(each)}  {100 * float(each.max()):.1f}%")
        return lines
    count = 12
    positions = training_positions(position, count)
    if positions == list(range(len(positions))):
        return [
            "Its output is not an average of values, so attention weights alone do not describe it."
        ]
    rounded = [round(position, 2) for position in positions]
    return [f"In training, {len(positions)} tokens get positions such as", f"{rounded}"]
