"""Writes the page of every positional embedding from its facts: `make docs`.

    python docs/write_positions.py

docs/positions/NAME.md and NAME.svg, and the list in docs/positions/README.md. The class is
the only source: its facts, formula, traps and docstring; the picture is computed.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from wordorder import drawing
from wordorder.cli.position_picture import WIDTH
from wordorder.cli.positions import facts, rows
from wordorder.evaluation.position_panels import panels_of_spec
from wordorder.model import ModelConfig
from wordorder.positions import CATALOGUE, Part, Position

FOLDER = Path(__file__).parent / "positions"
MODEL = ModelConfig(width=128, heads=4, trained_length=64)  # small pictures

CHOOSING = """\
Which one? `wordorder positions --choose` asks five questions, and prints one embedding, its
evidence (each figure with the file or the claim that it is from) and the commands to type. A script
answers with `--answers`, and `--json` prints the same as one object:

```sh
wordorder positions --choose
wordorder positions --choose --answers purpose=ship,load=llama.cpp,longer=yes,reads=causal,task=text
```"""

PICTURES = """\
`wordorder positions` lists them, `wordorder positions rotary` describes one, and with `--picture`
it draws what one has: the table that it adds to word vectors, the similarity or product of two
positions by distance, the angle of each pair of dimensions, the bias of each head by distance, with
the trained length marked. Any spec is drawn (`learned+alibi`, `rotary:scaling=yarn,factor=4`), an
embedding of your own too. The picture is `position-SPEC.png` in the working directory, or
`--out FILE`, a .png or .svg. Its path is printed; `--json` prints its panels.

A run folder in place of the spec draws what was learned, before training and after it:

```sh
wordorder train --preset nano --tokenizer characters --trained-length 64 --steps 1500 \\
  --position learned --out runs/learned
wordorder positions runs/learned --picture
```

![A learned table is noise before training; after it, neighbours are similar](learned-trained.svg)

The initial values are computed again from the run's seed. A run that started from other weights
(`--init`, `wordorder extend`) is drawn after training only."""


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, kind in CATALOGUE.items():
        (FOLDER / f"{name}.md").write_text(page(name, kind), encoding="utf-8")
        draw(name)
    (FOLDER / "README.md").write_text(listing(), encoding="utf-8")


def page(name: str, kind: type[Position]) -> str:
    """Return the page of one embedding."""
    about = facts(Part(name))
    lines = [f"# {name}", "", kind.summary, "", explanation(kind), ""]
    lines += ["| | |", "| --- | --- |"]
    lines += [f"| {what} | {value} |" for what, value in rows(about) if what != "options"]
    if kind.formula:
        lines += ["", "## Formula", "", "```text", kind.formula, "```"]
    lines += ["", "## What it does", "", *picture(name)]
    given = arguments(kind)
    if given:
        lines += ["", "## Options", "", "| option | default | |", "| --- | --- | --- |"]
        defaults = about["options"]
        lines += [f"| `{key}` | {defaults[key]!r} | {said} |" for key, said in given.items()]
    lines += [
        "",
        "## Use it",
        "",
        "```sh",
        USES.get(name, f"wordorder train --position {name}"),
    ]
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


# Of embeddings that are not used by their name alone.
USES = {
    "coupled": "wordorder tasks --tasks addition-reversed --positions coupled+rotary",
    "offset": "wordorder train --position offset:most=256+learned:length=512",
    "randomized": "wordorder train --position randomized+rotary",
    "self-extend": "wordorder extend runs/mine --to 4x --method self-extend",
    "log-temperature": "wordorder train --position rotary+log-temperature",
    "key-offset": "wordorder train --position rotary:fraction=0.5+key-offset",
    "repo": "wordorder train --position rotary/repo",
}


def picture(name: str) -> list[str]:
    """Return the lines that show the picture."""
    drawn = panels_of_spec(name, MODEL)
    if not drawn.panels:
        return [f"There is nothing to draw: {drawn.not_drawn[name]}."]
    titles = "; ".join(panel.title[0].lower() + panel.title[1:] for panel in drawn.panels)
    return [
        f"![{titles[0].upper()}{titles[1:]}]({name}.svg)",
        "",
        f"Drawn with initial values, for {MODEL.heads} heads of {MODEL.resolved.head_dim} and a "
        f"trained length of {MODEL.trained_length}. `wordorder positions {name} --picture` draws "
        "the default model's, and a run folder in place of the name draws what it learned.",
    ]


def draw(name: str) -> None:
    """Draw the picture, if there is anything to draw."""
    if panels := panels_of_spec(name, MODEL).panels:
        drawing.save_panels(
            FOLDER / f"{name}.svg", [panels], title=name, width=WIDTH, kinds=["svg"]
        )


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
    lines += ["Written by `make docs` from the classes themselves.", "", CHOOSING, "", PICTURES, ""]
    for door, title in doors.items():
        here = {name: kind for name, kind in CATALOGUE.items() if kind.door == door}
        lines += [f"## {title}", "", "| | | source |", "| --- | --- | --- |"]
        lines += [f"| [{n}]({n}.md) | {k.summary} | {k.source} |" for n, k in here.items()]
        lines += [""]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    main()
