"""One picture of what a model knows of order: what changes cost, what is read, where it looks.

Drawn from findings alone. Attention is a map with a row for each head, which holds four heads as
well as a hundred.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

from wordorder import drawing
from wordorder.evaluation.attention_mass import AttentionMass
from wordorder.evaluation.intervals import interval_around
from wordorder.evaluation.order import ProbeLoss
from wordorder.evaluation.position_probe import PositionReading
from wordorder.evaluation.probe import Findings
from wordorder.numerals import signed
from wordorder.panels import Forest, Heatmap, Level, Line, Lines, Look, Mark, MarkRow, look_of

WIDTH = 6.25  # inches of a column
LEAST_SCALE = 20.0  # percent of attention that the darkest colour stands for, at least


def draw_findings(path: Path, found: Findings, title: str, position: str) -> bool:
    """Draw findings into a png; returns whether there was anything to draw.

    Args:
        position: the model's embedding, which gives the picture its colour.

    Raises:
        OSError: the file cannot be written.
    """
    look = look_of(position)
    columns = [column for column in (_changes(found, look), _inside(found, look)) if column]
    if columns:
        drawing.save_panels(path, columns, title=title, width=WIDTH)
    return bool(columns)


def _changes(found: Findings, look: Look) -> list[Forest]:
    """The left column: what each change costs."""
    moved = [probe for part in (found.order, found.moved) if part for probe in part.probes]
    parts = {
        "One token, what is before it shuffled": found.reach.probes if found.reach else (),
        "Last quarter of a window, the context changed": moved,
        "The embedding taken out": found.removed.probes if found.removed else (),
    }
    return [_bars(title, probes, look) for title, probes in parts.items() if probes]


def _inside(found: Findings, look: Look) -> list[Lines | Heatmap]:
    """The right column: what is in the model."""
    panels: list[Lines | Heatmap] = []
    if found.position:
        panels.append(_position(found.position, look))
    if found.attention and found.attention.heads:
        panels.append(_attention(found.attention))
    return panels


def _bars(title: str, probes: Iterable[ProbeLoss], look: Look) -> Forest:
    rows = []
    for probe in probes:
        value = probe.increase_nats
        interval = None if value is None else interval_around(value, probe)
        text = "cannot" if value is None else signed(value)
        rows.append(MarkRow(probe.meaning, (Mark("", look, value, interval, (), text),)))
    return Forest("changes", title, "loss added, nats (95% interval)", tuple(rows), bars=True)


def _position(reading: PositionReading, look: Look) -> Lines:
    points = tuple((float(each.layer), each.error) for each in reading.layers)
    intervals = tuple(interval_around(each.error, each) for each in reading.layers)
    return Lines(
        "position",
        f"The position read from hidden states ({reading.reader})",
        "after layer",
        "mean error, positions",
        (Line("", look, points, intervals),),
        ticks=tuple((x, f"{x:.0f}" if x else "input") for x, _ in points),
        logarithmic=False,
        y_range=(0.0, 1.15 * max(reading.chance, *(y for _, y in points))),
        level=Level(reading.chance, "guessing: always the middle"),
    )


def _attention(mass: AttentionMass) -> Heatmap:
    """A row for each head, a column for each bucket, one more for the first token."""
    rows = [
        (*(100 * share for share in h.by_distance), None, 100 * h.first_token) for h in mass.heads
    ]
    even = (*(100 * share for share in mass.even), None, None)
    largest = max(value for row in (*rows, even) for value in row if value is not None)
    layers = [head.layer for head in mass.heads]
    middles = {n: fmean(i for i, own in enumerate(layers) if own == n) for n in layers}
    return Heatmap(
        "attention",
        "Where attention goes, a row for each head",
        "tokens back",
        "",
        columns=(*(str(a) if a == b else f"{a}-{b}" for a, b in mass.buckets), "", "first token"),
        rows=(*((y, f"layer {n}") for n, y in middles.items()), (len(rows) + 1, "guessing: even")),
        values=(*rows, (None,) * len(even), even),
        most=max(LEAST_SCALE, largest),
        root=True,  # a head that looks at one token would leave the others white
        breaks=tuple(i for i in range(1, len(layers)) if layers[i] != layers[i - 1]),
        scale="percent of attention",
    )
