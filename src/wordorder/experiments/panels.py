"""What the figures of an experiment show, before any library draws it.

A panel is plain data: lines over an axis, or rows with intervals. `figures.py` draws it with
matplotlib for papers and `charts.py` with plotly for the page, so both show the same numbers,
and one embedding has the same colour and marker in all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Okabe and Ito 2008, Color Universal Design: told apart by colour-blind people too. Black is for
# the baseline; their yellow is left out, for it is too faint on white.
BASELINE_COLOUR = "#222222"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# As many as there are colours and one: a colour meets its first marker again after 42 embeddings.
MARKERS = ("square", "diamond", "triangle-up", "triangle-down", "cross", "x", "pentagon")


@dataclass(frozen=True)
class Look:
    """How one embedding looks in every figure: a colour, a marker by name, the line's dashes."""

    colour: str
    marker: str
    dashes: int = 0


@dataclass(frozen=True)
class Line:
    """One embedding over an axis.

    Args:
        points: (x, y) of the means.
        hover: what each point says, lines of plain text.
        intervals: (low, high) of each point; empty where there are none.
        seeds: the points of each seed, drawn faintly: as lines where `seeds_joined`.
        note: beside the name in the legend.
    """

    name: str
    look: Look
    points: tuple[tuple[float, float], ...]
    hover: tuple[tuple[str, ...], ...]
    intervals: tuple[tuple[float, float] | None, ...] = ()
    seeds: tuple[tuple[tuple[float, float], ...], ...] = ()
    seeds_joined: bool = False
    note: str = ""


@dataclass(frozen=True)
class Lines:
    """Lines over a numeric axis.

    Args:
        name: of the file, and of the figure within the page.
        ticks: (x, label) of a log2 axis; empty: a linear axis of its own.
        y_range: what is shown; None: all.
        band: (low, high) of y, shaded.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...] = ()
    y_range: tuple[float, float] | None = None
    band: tuple[float, float] | None = None


@dataclass(frozen=True)
class Mark:
    """One embedding's difference: mean, interval (None with one seed), every seed, and its text."""

    name: str
    look: Look
    mean: float
    interval: tuple[float, float] | None
    values: tuple[float, ...]
    hover: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Row:
    """Marks under one another with one label: several embeddings, or one whose name it is."""

    label: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Forest:
    """Differences with their intervals, rows from top to bottom, and a line at zero."""

    name: str
    title: str
    x_label: str
    rows: tuple[Row, ...]

    @property
    def grouped(self) -> bool:
        """Whether rows hold several marks, which then need a legend."""
        return any(len(row.marks) > 1 for row in self.rows)

    @property
    def places(self) -> tuple[tuple[float, ...], ...]:
        """How far down the marks of each row are: a mark from the next by 1, rows by more."""
        found, down = [], 0.0
        for row in self.rows:
            found.append(tuple(down + i for i in range(len(row.marks))))
            down += len(row.marks) + (1.0 if self.grouped else 0.0)
        return tuple(found)


Panel = Lines | Forest


def looks(positions: Sequence[str], baseline: str | None = None) -> dict[str, Look]:
    """Return the look of each embedding, by the order they are given in."""
    found = {}
    others = [p for p in positions if p != baseline]
    for i, position in enumerate(others):
        found[position] = Look(
            COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], i // len(COLOURS)
        )
    if baseline is not None:
        found[baseline] = Look(BASELINE_COLOUR, "circle")
    return found
