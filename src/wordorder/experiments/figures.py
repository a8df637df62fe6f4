"""Panels drawn by matplotlib: the pictures for papers and READMEs, as png and svg."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullLocator

from wordorder import drawing
from wordorder.experiments.panels import Forest, Line, Lines, Mark, Panel

MARKERS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "triangle-down": "v",
    "cross": "P",
    "x": "X",
    "pentagon": "p",
}
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 1.5, 1.5, 1.5)))
# 10 points are 13 px in the svg; the salt makes its ids, and so the file, the same every time.
STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "wordorder",
}
FAINT = 0.35


def save_figure(folder: Path, panels: Sequence[Panel]) -> None:
    """Draw panels one under another into `NAME.png` and `NAME.svg`, NAME being the first's."""
    heights = [_height(panel) for panel in panels]
    with drawing.style(STYLE):
        figure = Figure(figsize=(7.4, sum(heights)), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(panels), squeeze=False, gridspec_kw={"height_ratios": heights})
        for axes, panel in zip(grid[:, 0], panels, strict=True):
            axes.set_title(drawing.plain(panel.title), loc="left")
            axes.set_xlabel(drawing.plain(panel.x_label))
            axes.grid(alpha=0.2)
            axes.set_axisbelow(True)
            if isinstance(panel, Lines):
                _draw_lines(axes, panel)
            else:
                _draw_forest(axes, panel)
        for kind, metadata in (("png", {}), ("svg", {"Date": None})):
            path = folder / f"{panels[0].name}.{kind}"
            drawing.save(figure, path, dpi=150, metadata=metadata)


def _height(panel: Panel) -> float:
    """Return the inches a panel needs."""
    if isinstance(panel, Lines):
        return max(3.6, 0.9 + 0.215 * len(panel.lines))  # as high as the legend
    return 0.9 + (0.17 if panel.grouped else 0.36) * (panel.places[-1][-1] + 1)


def _draw_lines(axes: Axes, panel: Lines) -> None:
    axes.set_ylabel(drawing.plain(panel.y_label))
    if panel.ticks:
        axes.set_xscale("log", base=2)
        axes.set_xticks([x for x, _ in panel.ticks], [label for _, label in panel.ticks])
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 1.5M
    if panel.band:
        axes.axhspan(*panel.band, color="#000000", alpha=0.06, linewidth=0)
        axes.axhline(0, color="#888888", linewidth=0.8)
    for line in panel.lines:
        _draw_line(axes, line)
    if panel.y_range:
        axes.set_ylim(*panel.y_range)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _draw_line(axes: Axes, line: Line) -> None:
    look = line.look
    marker = MARKERS[look.marker]
    for seed in line.seeds:
        axes.plot(
            [x for x, _ in seed],
            [y for _, y in seed],
            color=look.colour,
            alpha=FAINT,
            linewidth=0.7 if line.seeds_joined else 0,
            marker="" if line.seeds_joined else marker,
            markersize=3,
            markeredgewidth=0,
        )
    errors = [i or (y, y) for i, (_, y) in zip(line.intervals, line.points, strict=False)]
    if errors:
        axes.errorbar(
            [x for x, _ in line.points],
            [y for _, y in line.points],
            yerr=[
                [y - low for (low, _), (_, y) in zip(errors, line.points, strict=True)],
                [high - y for (_, high), (_, y) in zip(errors, line.points, strict=True)],
            ],
            fmt="none",
            ecolor=look.colour,
            elinewidth=1.2,
        )
    axes.plot(
        [x for x, _ in line.points],
        [y for _, y in line.points],
        color=look.colour,
        linestyle=DASHES[look.dashes % len(DASHES)],
        linewidth=1.6,
        marker=marker,
        markersize=5.5,
        label=drawing.plain(f"{line.name} {line.note}".rstrip()),
    )


def _draw_forest(axes: Axes, panel: Forest) -> None:
    axes.axvline(0, color="#888888", linewidth=0.8)
    for places, row in zip(panel.places, panel.rows, strict=True):
        for y, mark in zip(places, row.marks, strict=True):
            _draw_mark(axes, y, mark, beneath=0.0 if panel.grouped else 0.25)
    middles = [sum(places) / len(places) for places in panel.places]
    axes.set_yticks(middles, [drawing.plain(row.label) for row in panel.rows])
    axes.set_ylim(panel.places[-1][-1] + 0.6, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    if panel.grouped:
        handles, labels = axes.get_legend_handles_labels()
        named = dict(zip(labels, handles, strict=True))
        axes.legend(
            named.values(),
            named.keys(),
            frameon=False,
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
        )
        return
    right = axes.secondary_yaxis("right")
    right.set_yticks(middles, [drawing.plain(row.marks[0].text) for row in panel.rows])
    right.tick_params(length=0)
    right.spines["right"].set_visible(False)


def _draw_mark(axes: Axes, y: float, mark: Mark, *, beneath: float) -> None:
    """Draw a mean on its interval, and the seeds so far beneath that neither hides the other."""
    marker, colour = MARKERS[mark.look.marker], mark.look.colour
    if mark.interval:
        axes.plot(mark.interval, (y, y), color=colour, linewidth=2, solid_capstyle="butt")
    axes.plot(
        mark.values,
        [y + beneath] * len(mark.values),
        marker,
        color=colour,
        alpha=0.6,
        markersize=3.5,
        markeredgewidth=0,
    )
    axes.plot(mark.mean, y, marker, color=colour, markersize=6.5, label=drawing.plain(mark.name))
