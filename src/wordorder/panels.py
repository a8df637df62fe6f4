"""What pictures show, as plain data, and how an embedding looks in all of them.

A picture is made of panels; `drawing.py` draws them, for files and for the page of a report.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

# Okabe and Ito 2008, Color Universal Design, told apart by colour-blind people too, without their
# yellow, which is too faint on white; then four more as dark.
COLOURS = (
    *("#222222", "#0072B2", "#D55E00", "#E69F00", "#56B4E9", "#009E73", "#CC79A7"),
    *("#7A4FA3", "#8C6D31", "#6E7F80", "#B03060"),
)
# The embeddings compared most often have the first colours, so that these are all different. The
# others have the next ones in the order of the catalogue, then the first again; embeddings of one
# colour differ in marker and dashes.
COMMON = ("none", "rotary", "alibi", "learned", "sinusoidal", "t5")
MARKERS = "osD^vPXp"  # in matplotlib's spelling
QUIET = "#888888"  # lines and words that are no data


@dataclass(frozen=True)
class Look:
    """How one embedding looks in every picture: a colour, a marker, the number of its dashes."""

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
    """Return the looks of embeddings in one picture, no two alike.

    Each has its own colour; of several with one colour all but the first have another marker and
    dashes.
    """
    found: dict[str, Look] = {}
    for position in positions:
        look = look_of(position)
        first, taken = MARKERS.index(look.marker), set(found.values())
        for number in itertools.count():
            marker = MARKERS[(first + number) % len(MARKERS)]
            look = Look(look.colour, marker, number + number // len(MARKERS))
            if look not in taken:
                break
        found[position] = look
    return found


@dataclass(frozen=True)
class Line:
    """A line over an axis.

    Args:
        points: (x, y) of the means.
        intervals: (low, high) of each point; empty where there are none.
        seeds: the points of each seed, drawn faintly: as lines where `seeds_joined`.
        note: beside the name in the legend.
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
    """A dashed line across a panel with its meaning, such as what guessing scores."""

    value: float
    label: str


@dataclass(frozen=True)
class Lines:
    """Lines over a numeric axis.

    Args:
        name: of the file, and of the figure within the page.
        ticks: (x, label); empty: as the numbers fall.
        logarithmic: whether the x axis is of powers of two.
        y_range: what is shown; None: all.
        band: (low, high) of y, shaded.
        level: shown where it lies within what is shown.
        second: the label of a second y axis, and its unit over the first's.
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


@dataclass(frozen=True)
class Mark:
    """A value with its interval (None with one seed), every seed, and the value as text.

    Args:
        mean: None where there is no value: its text alone is shown.
    """

    name: str
    look: Look
    mean: float | None
    interval: tuple[float, float] | None
    values: tuple[float, ...]
    text: str


@dataclass(frozen=True)
class MarkRow:
    """Marks under one another with one label: several embeddings, or one whose name it is."""

    label: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Forest:
    """Differences with their intervals, rows from top to bottom, and a line at zero.

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
        """Whether rows hold several marks, which then need a legend."""
        return any(len(row.marks) > 1 for row in self.rows)

    @property
    def places(self) -> tuple[tuple[float, ...], ...]:
        """How far down the marks of each row are: a mark from the next by 1, rows by more."""
        places, down = [], 0.0
        for row in self.rows:
            places.append(tuple(down + i for i in range(len(row.marks))))
            down += len(row.marks) + (1.0 if self.grouped else 0.0)
        return tuple(places)


@dataclass(frozen=True)
class Heatmap:
    """Percentages by row and column, darker where larger.

    Args:
        columns: their labels; "" for none.
        rows: (place, label), the first row at 0; a label between two places is of both.
        values: (rows, columns), 0 to 100; None leaves a cell empty.
        most: the value of the darkest colour.
        root: whether colours follow the square root, so that small values show too.
        breaks: rows above which a white line parts groups.
        scale: the label of a scale at the side; "": each cell shows its number instead.
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


Panel = Lines | Forest | Heatmap
