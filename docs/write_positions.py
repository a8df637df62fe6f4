"""Writes the page of every positional embedding from its facts: `make docs`.

    python docs/write_positions.py

docs/positions/NAME.md and NAME.png, and the list in docs/positions/README.md. The class is
the only source: its facts, formula, traps and docstring; the picture is computed.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import torch

from wordorder.cli.positions import facts, rows
from wordorder.positions import CATALOGUE, Part, Position
from wordorder.positions.picture import HEADS, training_positions, weights_of_copies

FOLDER = Path(__file__).parent / "positions"
COPIES = 64


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, kind in CATALOGUE.items():
        (FOLDER / f"{name}.md").write_text(page(name, kind), encoding="utf-8")
        draw(name, kind)
    (FOLDER / "README.md").write_text(listing(), encoding="utf-8")


def page(name: str, kind: type[Position]) -> str:
    """Return the page of one embedding."""
    about = facts(Part(name))
    lines = [f"# {name}", "", kind.summary, "", explanation(kind), ""]
    lines += ["| | |", "| --- | --- |"]
    lines += [f"| {what} | {value} |" for what, value in rows(about) if what != "options"]
    if kind.formula:
        lines += ["", "## Formula", "", "```text", kind.formula, "```"]
    lines += ["", "## What it does", "", *seen(name, kind)]
    given = arguments(kind)
    if given:
        lines += ["", "## Options", "", "| option | default | |", "| --- | --- | --- |"]
        defaults = about["options"]
        lines += [f"| `{key}` | {defaults[key]!r} | {said} |" for key, said in given.items()]
    lines += ["", "## Use it", "", "```sh", f"wordorder train --position {example(name, about)}"]
    lines += [f"wordorder check {name}", "```", "", "In your own transformer: "]
    lines[-1] += "[any embedding in plain PyTorch](../plain-attention.md)."
    if kind.traps:
        lines += ["", "## Traps", "", *(f"- {trap}" for trap in kind.traps)]
    return "\n".join(lines) + "\n"


def explanation(kind: type[Position]) -> str:
    """Return what the module's docstring says after its first paragraph."""
    words = inspect.getdoc(inspect.getmodule(kind)) or ""
    return words.partition("\n\n")[2]


def arguments(kind: type[Position]) -> dict[str, str]:
    """Return what the class docstring says of each option."""
    text = inspect.getdoc(kind) or ""
    section = re.search(r"^Args:\n((?: {4}.*\n?|\n)+)", text, re.MULTILINE)
    found: dict[str, str] = {}
    for line in section[1].splitlines() if section else []:
        start = re.match(r" {4}(\w+): (.*)", line)
        if start:
            name = start[1]
            found[name] = start[2]
        elif line.strip():
            found[name] += " " + line.strip()
    return {key: said for key, said in found.items() if key in kind.options()}


def example(name: str, about: dict) -> str:
    """Return a spec that shows how options are written."""
    if about["places"]:
        return f"{name}+rotary"
    papers = (f"{o}={each['paper']:g}" for o, each in about["follows"].items() if each["paper"])
    if paper := next(papers, ""):
        return f"{name}:{paper}"
    number = next(
        (f"{key}={value:g}" for key, value in about["options"].items() if type(value) is float), ""
    )
    return f"{name}:{number}" if number else name


def seen(name: str, kind: type[Position]) -> list[str]:
    """Return the lines that show the picture, or the positions that are fed."""
    if weights_of_copies(kind, COPIES) is not None:
        return [
            f"![Attention of the last of {COPIES} identical tokens, by distance]({name}.png)",
            "",
            f"Attention of the last of {COPIES} identical tokens to each of them, by distance, in "
            f"{HEADS} heads of 64; parameters at initialisation. Only positions tell the tokens "
            "apart: without an embedding all get the same weight.",
        ]
    positions = training_positions(kind)
    if positions == list(range(len(positions))):
        return ["It changes the values too, which attention weights do not show."]
    fed = ", ".join(map(str, positions))
    return [f"Training feeds a sequence of {len(positions)} tokens positions such as {fed}."]


def draw(name: str, kind: type[Position]) -> None:
    """Draw the attention to copies by distance."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    weights = weights_of_copies(kind, COPIES)
    if weights is None:
        return
    figure, axes = pyplot.subplots(figsize=(6, 2.6), dpi=110, layout="constrained")
    distances = torch.arange(COPIES).flip(0)
    for head, each in enumerate(weights, 1):
        axes.plot(distances, 100 * each, label=f"head {head}", linewidth=1.5)
    axes.set(xlabel="distance in tokens", ylabel="attention, %", xlim=(COPIES - 1, 0))
    axes.set_ylim(0, max(4.0, 105 * float(weights.max())))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize="small", loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(FOLDER / f"{name}.png", metadata={"Software": None})
    pyplot.close(figure)


def listing() -> str:
    """Return the list of all embeddings, by door."""
    doors = {
        "none": "No door",
        "input": "Input: the word vectors",
        "query-key": "Query-key: queries and keys",
        "score": "Score: the attention scores",
        "row": "Row: a whole row of scores, or the values",
    }
    lines = ["# Positional embeddings", ""]
    lines += ["Written by `make docs` from the classes themselves.", ""]
    for door, title in doors.items():
        here = {name: kind for name, kind in CATALOGUE.items() if kind.door == door}
        lines += [f"## {title}", "", "| | | source |", "| --- | --- | --- |"]
        lines += [f"| [{n}]({n}.md) | {k.summary} | {k.source} |" for n, k in here.items()]
        lines += [""]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    main()
