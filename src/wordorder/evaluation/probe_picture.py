"""One picture of the results of `wordorder probe`.

The left column has the cost of each change, the right one position by layer and attention by
distance, as a heat map with a row for each head.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

from wordorder import drawing
from wordorder.evaluation.attention_mass import AttentionMass
from wordorder.evaluation.intervals import interval_around
from wordorder.evaluation.order import ProbeLoss
from wordorder.evaluation.position_probe import PositionProbe
from wordorder.evaluation.probe import ProbeResults
from wordorder.numerals import signed
from wordorder.panels import Forest, Heatmap, Level, Line, Lines, Look, Mark, MarkRow, look_of

WIDTH = 6.25  # inches of a column
LEAST_SCALE = 20.0  # the darkest colour stands for at least this percentage of attention


def draw_results(path: Path, results: ProbeResults, title: str, position: str) -> bool:
    """Draw results into a PNG file; returns whether there was anything to draw.

    Args:
        position: the model's embedding, whose colour the picture has.

    Raises:
        OSError: the file cannot be written.
    """
    look = look_of(position)
    columns = [column for column in (_changes(results, look), _internals(results, look)) if column]
    if columns:
        drawing.save_panels(path, columns, title=title, width=WIDTH)
    return bool(columns)


def _changes(results: ProbeResults, look: Look) -> list[Forest]:
    """The left column: the cost of each change."""
    moved = [probe for part in (results.order, results.moved) if part for probe in part.probes]
    parts = {
        "One target token, distant context shuffled": (
            results.reach.probes if results.reach else ()
        ),
        "Last quarter of a window, context changed": moved,
        "Embedding removed": results.removed.probes if results.removed else (),
    }
    return [_bars(title, probes, look) for title, probes in parts.items() if probes]


def _internals(results: ProbeResults, look: Look) -> list[Lines | Heatmap]:
    """The right column: positions in hidden states, and attention."""
    panels: list[Lines | Heatmap] = []
    if results.position:
        panels.append(_position(results.position, look))
    if results.attention and results.attention.heads:
        panels.append(_attention(results.attention))
    return panels


def _bars(title: str, probes: Iterable[ProbeLoss], look: Look) -> Forest:
    rows = []
    for probe in probes:
        value = probe.increase_nats
        interval = None if value is None else interval_around(value, probe)
        text = "not possible" if value is None else signed(value)
        rows.append(MarkRow(probe.meaning, (Mark("", look, value, interval, (), text),)))
    return Forest("changes", title, "increase in loss, nats (95% interval)", tuple(rows), bars=True)


def _position(probe: PositionProbe, look: Look) -> Lines:
    points = tuple((float(layer.layer), layer.error) for layer in probe.layers)
    intervals = tuple(interval_around(layer.error, layer) for layer in probe.layers)
    return Lines(
        "position",
        f"Position predicted from hidden states ({probe.reader} probe)",
        "after layer",
        "mean absolute error, positions",
        (Line("", look, points, intervals),),
        ticks=tuple((x, f"{x:.0f}" if x else "input") for x, _ in points),
        logarithmic=False,
        y_range=(0.0, 1.15 * max(probe.chance, *(y for _, y in points))),
        level=Level(probe.chance, "chance: always the middle"),
    )


def _attention(mass: AttentionMass) -> Heatmap:
    """Draw a row for each head; a column for each bucket, and one for the first token."""
    rows = [
        (*(100 * share for share in h.by_distance), None, 100 * h.first_token) for h in mass.heads
    ]
    even = (*(100 * share for share in mass.even), None, None)
    largest = max(value for row in (*rows, even) for value in row if value is not None)
    layers = [head.layer for head in mass.heads]
    middles = {n: fmean(i for i, layer in enumerate(layers) if layer == n) for n in layers}
    return Heatmap(
        "attention",
        "Attention by distance, one row for each head",
        "tokens back",
        "",
        columns=(*(str(a) if a == b else f"{a}-{b}" for a, b in mass.buckets), "", "first token"),
        rows=(*((y, f"layer {n}") for n, y in middles.items()), (len(rows) + 1, "uniform")),
        values=(*rows, (None,) * len(even), even),
        most=max(LEAST_SCALE, largest),
        root=True,  # otherwise one head with all its attention on one token leaves the others white
        breaks=tuple(i for i in range(1, len(layers)) if layers[i] != layers[i - 1]),
        scale="percent of attention",
    )
