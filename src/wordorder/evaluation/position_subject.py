"""One embedding to draw, and the lines and fields that its panels consist of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wordorder.panels import Field, Level, Line, Lines, Look, look_of, shades
from wordorder.positions import Part, Position

MOST_POINTS = 1024  # columns of a field, points of a line
HEIGHT = 2.6  # inches of a plot of lines
PAST = "past the trained length"
BEFORE, AFTER = "before training", "after training"


@dataclass(frozen=True)
class Subject:
    """One embedding to draw.

    Args:
        part: its spec.
        position: the embedding.
        initial: the same with its values before training; None or `position`: draw it once.
        where: begins the titles: the part if there are several, and its layer if these differ.
    """

    part: Part
    position: Position
    initial: Position | None = None
    where: str = ""

    def title(self, text: str) -> str:
        """Return a panel's title, after the part and layer if there are several."""
        return f"{self.where}: {text}" if self.where else text[0].upper() + text[1:]

    @property
    def look(self) -> Look:
        """The look of the embedding in every figure."""
        return look_of(str(self.part))

    @property
    def states(self) -> list[tuple[Position, str]]:
        """The embedding before and after training with words for a title, or once."""
        same = self.initial in (None, self.position) or not list(self.position.parameters())
        if self.initial is None or same:
            return [(self.position, "")]
        return [(self.initial, f" {BEFORE}"), (self.position, f" {AFTER}")]

    @property
    def trained_length(self) -> int:
        """Tokens in one training sequence."""
        return self.position.shape.trained_length

    @property
    def length(self) -> int:
        """Positions to draw: twice the trained length or what a scaling extends it to."""
        factor = max(2.0, getattr(self.position, "factor", 1.0))
        length = math.ceil(factor * self.trained_length)
        limit = self.position.max_position
        return length if limit is None else min(length, limit + 1)

    @property
    def past(self) -> Level | None:
        """The mark of the trained length; None if nothing past it is drawn."""
        return Level(self.trained_length, PAST) if self.length > self.trained_length else None


def head_lines(values: Tensor, distances: Tensor | None, subject: Subject) -> list[Line]:
    """Return a line for each head, or one if all are the same."""
    if distances is None:
        distances = torch.arange(values.shape[-1])
    look = subject.look
    if bool(torch.allclose(values, values[:1].expand_as(values), atol=1e-6)):
        return [line_of("", look, distances, values[0])]
    looks = shades(look, len(values))
    return [
        line_of(f"head {head}", each, distances, row)
        for head, (each, row) in enumerate(zip(looks, values, strict=True), 1)
    ]


def line_of(name: str, look: Look, x: Tensor, y: Tensor) -> Line:
    """Return a line through points, or through about `MOST_POINTS` of them."""
    indices = thinned(len(x))
    points = zip(x[indices].double().tolist(), y[indices].double().tolist(), strict=True)
    return Line(name, look, tuple(points), marked=False)


def lines_by_distance(
    name: str, title: str, y_label: str, lines: Sequence[Line], past: Level | None
) -> Lines:
    """Return a panel of lines over the distance in tokens."""
    return Lines(
        name,
        title,
        "distance in tokens",
        y_label,
        tuple(lines),
        logarithmic=False,
        past=past,
        height=HEIGHT,
    )


def table_fields(
    subject: Subject,
    name: str,
    text: str,
    tables: Sequence[tuple[Tensor, str]],
    *,
    x_label: str = "position",
    first: int = 0,
    past: Level | None = None,
) -> list[Field]:
    """Return a panel for each table (rows, dimensions), all with the same colours.

    Args:
        text: the titles, before the words of each table.
        x_label: what a row of a table stands for; each is drawn as a column.
        first: the number of the first row.
    """
    if not tables:
        return []
    columns = thinned(len(tables[0][0]))
    limits = symmetric_limits(torch.cat([table for table, _ in tables]))
    return [
        Field(
            name,
            subject.title(text + words),
            x_label,
            "dimension",
            table[columns].T.tolist(),
            (float(first), float(first + columns[-1])),
            limits,
            "value",
            past=past,
        )
        for table, words in tables
    ]


def thinned(length: int, most: int = MOST_POINTS) -> Tensor:
    """Return indices 0 to length - 1, or about `most` of them at equal steps."""
    return torch.arange(0, length, -(-length // most))


def symmetric_limits(values: Tensor) -> tuple[float, float]:
    """Return limits around 0 that hold all values but the largest half percent."""
    sizes = values.abs().flatten()
    most = float(sizes.kthvalue(max(1, math.ceil(0.995 * len(sizes)))).values) or 1.0
    return -most, most
