"""The contents of plots as plain data, and the colour and marker of each embedding.

A figure consists of panels; `drawing.py` draws them, into files and into reports.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# Source: Okabe and Ito 2008, Color Universal Design, which colour-blind people can distinguish;
# without their yellow, which is too faint on white. Four colours of similar darkness follow.
COLOURS = (
    *("#222222", "#0072B2", "#D55E00", "#E69F00", "#56B4E9", "#009E73", "#CC79A7"),
    *("#7A4FA3", "#8C6D31", "#6E7F80", "#B03060"),
)
# The embeddings compared most often have the first colours, so that these are all different. The
# others have the next ones in the order of the catalogue, then the first again; embeddings of one
# colour differ in marker and dashes.
COMMON = ("none", "rotary", "alibi", "learned", "sinusoidal", "t5")
MARKERS = "osD^vPXp"  # in matplotlib's spelling
QUIET = "#888888"  # reference lines and labels


@dataclass(frozen=True)
class Look:
    """The colour, marker and dash pattern of one embedding in every figure."""

    colour: str
    marker: str
    dashes: int = 0


def look_of(position: str) -> Look:
    """Return the look of an embedding, by the name that its spec begins with."""
    from wordorder.positions import CATALOGUE  # imports torch, which pictures of words do without

    name = re.split(r"[:+/]", position, maxsplit=1)[0]
    names = [*COMMON, *(other for other in CATALOGUE if other not in COMMON)]
    number = names.index(name) if name in names else zlib.crc32(name.encode())
    return Look(COLOURS[number % len(COLOURS)], MARKERS[number % len(COLOURS) % len(MARKERS)])


def looks(positions: Iterable[str]) -> dict[str, Look]:
    """Return the looks of the embeddings in one figure, all different.

    If several share a colour, all but the first get another marker and other dashes.
    """
    chosen: dict[str, Look] = {}
    for position in positions:
        look = look_of(position)
        first, taken = MARKERS.index(look.marker), set(chosen.values())
        for number in itertools.count():
            marker = MARKERS[(first + number) % len(MARKERS)]
            look = Look(look.colour, marker, number + number // len(MARKERS))
            if look not in taken:
                break
        chosen[position] = look
    return chosen


def shades(look: Look, count: int) -> list[Look]:
    """Return looks from dark to pale in an embedding's colour, for lines such as its heads."""
    rgb = [int(look.colour[i : i + 2], 16) for i in (1, 3, 5)]
    darkest = -0.5 if max(rgb) > 120 else 0.0
    steps = [darkest + (0.65 - darkest) * i / max(1, count - 1) for i in range(count)]
    end = [0 if step < 0 else 255 for step in steps]  # towards black, then towards white
    mixed = [[round(c + (e - c) * abs(s)) for c in rgb] for s, e in zip(steps, end, strict=True)]
    return [Look("#{:02X}{:02X}{:02X}".format(*c), look.marker) for c in mixed]


@dataclass(frozen=True)
class Line:
    """One line of a plot.

    Args:
        points: (x, y) of the means.
        intervals: (low, high) for each point; empty: no intervals.
        seeds: the points of each seed, drawn faintly: as lines if `seeds_joined`.
        note: text after the name in the legend.
        marked: whether points have markers.
    """

    name: str
    look: Look
    points: tuple[tuple[float, float], ...]
    intervals: tuple[tuple[float, float] | None, ...] = ()
    seeds: tuple[tuple[tuple[float, float], ...], ...] = ()
    seeds_joined: bool = False
    note: str = ""
    marked: bool = True


@dataclass(frozen=True)
class Level:
    """A labelled dashed line across a panel, such as the score of guessing."""

    value: float
    label: str


@dataclass(frozen=True)
class Lines:
    """Lines over a numeric axis.

    Args:
        name: file name, and id of the figure within a page.
        ticks: (x, label); empty: matplotlib chooses.
        logarithmic: whether the x axis is logarithmic, base 2.
        y_range: limits of the y axis; None: all data.
        band: (low, high) of a shaded band in y.
        level: drawn only if it is within the limits.
        past: x from which the plot is shaded, such as the end of what was trained, and its label.
        second: label of a second y axis, and its values divided by those of the first.
        height: inches, without a legend below.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...] = ()
    logarithmic: bool = True
    y_range: tuple[float, float] | None = None
    band: tuple[float, float] | None = None
    level: Level | None = None
    second: tuple[str, float] | None = None
    past: Level | None = None
    height: float = 3.6


@dataclass(frozen=True)
class Mark:
    """A mean with its interval and the values of all seeds.

    Args:
        mean: None: only `text` is shown.
        interval: (low, high); None with one seed.
        values: the value of each seed.
        text: the mean in words.
    """

    name: str
    look: Look
    mean: float | None
    interval: tuple[float, float] | None
    values: tuple[float, ...]
    text: str


@dataclass(frozen=True)
class MarkRow:
    """Marks with one label, from top to bottom."""

    label: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Forest:
    """A forest plot: differences with their intervals, and a line at zero.

    Args:
        bars: whether a bar joins each value to zero.
    """

    name: str
    title: str
    x_label: str
    rows: tuple[MarkRow, ...]
    bars: bool = False

    @property
    def grouped(self) -> bool:
        """Whether any row holds several marks, which then need a legend."""
        return any(len(row.marks) > 1 for row in self.rows)

    @property
    def places(self) -> tuple[tuple[float, ...], ...]:
        """The y coordinates of each row's marks: marks are 1 apart, grouped rows 2."""
        places, down = [], 0.0
        for row in self.rows:
            places.append(tuple(down + i for i in range(len(row.marks))))
            down += len(row.marks) + (1.0 if self.grouped else 0.0)
        return tuple(places)


@dataclass(frozen=True)
class Heatmap:
    """Percentages by row and column, darker where larger.

    Args:
        columns: their labels; "" for no label.
        rows: (y, label), the first row at 0; a label between two rows names both.
        values: (rows, columns), 0 to 100; None leaves a cell empty.
        most: the value with the darkest colour.
        root: whether colours follow the square root, which makes small values visible.
        breaks: rows below a white line between groups.
        scale: label of a colour bar; "": each cell shows its number instead.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    columns: tuple[str, ...]
    rows: tuple[tuple[float, str], ...]
    values: tuple[tuple[float | None, ...], ...]
    most: float = 100.0
    root: bool = False
    breaks: tuple[int, ...] = ()
    scale: str = ""


@dataclass(frozen=True)
class Field:
    """Numbers over two numeric axes, as colours.

    Args:
        values: (rows, columns); row 0 is at the top.
        x_range: x of the first and of the last column.
        limits: the numbers with the first and the last colour.
        scale: label of the colour bar.
        ticks: (number, label) on the colour bar; empty: matplotlib chooses.
        colours: name of a matplotlib colormap.
        marks: (x, row) of points drawn on top.
        past: x of a dashed line, such as the end of what was trained, and its label.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    values: Sequence[Sequence[float]]
    x_range: tuple[float, float]
    limits: tuple[float, float]
    scale: str
    ticks: tuple[tuple[float, str], ...] = ()
    colours: str = "RdBu_r"
    marks: tuple[tuple[float, float], ...] = ()
    past: Level | None = None


Panel = Lines | Forest | Heatmap | Field
