"""Draws each kind of panel on matplotlib's axes; `drawing.py` puts them into figures and files.

Text is drawn literally (no mathtext).
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from wordorder.control_characters import escape_of
from wordorder.panels import QUIET, Field, Forest, Heatmap, Level, Line, Lines, Mark, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST = 160  # characters
WIDTH, NARROW = 7.4, 4.0  # inches: 710 px, and what a phone's 420 px leave
LETTERS_PER_INCH = 12.0
BESIDE = 2.2  # inches for a name in a legend beside the axes
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 1.5, 1.5, 1.5)))
FAINT = 0.35


def plain(text: str) -> str:
    """Return text that matplotlib draws literally.

    Matplotlib parses text between two dollars as mathtext, and has no glyphs for control
    characters and lone surrogates (file names that are not UTF-8). Long names are cut, because a
    name of 255 letters leaves no room for the plot.
    """
    if text.startswith("_"):  # which hides a name from a legend
        text = f" {text}"
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}..."
    printed = "".join(c if c.isprintable() or c == "\n" else escape_of(c) for c in text)
    return printed.replace("$", r"\$")


def draw(axes: Axes, panel: Panel, width: float) -> None:
    """Draw a panel on axes of a figure of a width in inches."""
    _DRAWN[type(panel)](axes, panel, width)


def height_of(panel: Panel, width: float) -> float:
    """Return the height of a panel in inches."""
    if isinstance(panel, Heatmap):
        per_row = 0.28 if not panel.scale else 0.11
        return 1.0 + max(1.6, per_row * len(panel.values))
    if isinstance(panel, Field):
        return 2.9
    if isinstance(panel, Lines):
        if _legend_below(panel, width):
            return panel.height + 0.22 * -(-len(panel.lines) // _legend_columns(panel, width))
        return max(panel.height, 0.9 + 0.215 * len(panel.lines))  # as high as the legend
    names = len({mark.name for row in panel.rows for mark in row.marks}) if panel.grouped else 0
    legend = 0.22 * -(-names // 2) if width < WIDTH else 0.0
    lines = max(_row_label(row.label, panel, width).count("\n") for row in panel.rows)
    per_mark = 0.17 if panel.grouped else (0.25 if panel.bars else 0.36) + 0.1 * lines
    return 0.9 + legend + per_mark * (panel.places[-1][-1] + 1)


def _legend_below(panel: Lines, width: float) -> bool:
    return width < WIDTH or panel.second is not None  # a second axis takes the space beside


def _legend_columns(panel: Lines, width: float) -> int:
    """Return how many names of a legend below the axes are side by side."""
    longest = max(len(f"{line.name} {line.note}") for line in panel.lines)
    return max(1, int(0.8 * width * LETTERS_PER_INCH / (longest + 6)))


def wrapped(text: str, width: float) -> str:
    """Return text wrapped to a width in inches."""
    letters = max(12, int(width * LETTERS_PER_INCH))
    return "\n".join(textwrap.fill(line, letters) for line in plain(text).split("\n"))


def _draw_lines(axes: Axes, panel: Lines, width: float) -> None:
    from matplotlib.ticker import EngFormatter, NullLocator

    axes.grid(alpha=0.2)
    axes.set_axisbelow(True)
    axes.set_ylabel(plain(panel.y_label))
    if panel.ticks and panel.logarithmic:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_minor_locator(NullLocator())
    if panel.ticks:
        each = 0.8 * width / len(panel.ticks)
        labels = [wrapped(label, each) for _, label in panel.ticks]
        axes.set_xticks([x for x, _ in panel.ticks], labels)
        if width < WIDTH:
            axes.tick_params(axis="x", labelsize=9)
    else:
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 1.5M
    if panel.band:
        axes.axhspan(*panel.band, color="#000000", alpha=0.06, linewidth=0)
        axes.axhline(0, color=QUIET, linewidth=0.8)
    below = _legend_below(panel, width)
    for line in panel.lines:
        _draw_line(axes, line, width if below else BESIDE)
    if panel.y_range:
        axes.set_ylim(*panel.y_range)
    if panel.level:
        _draw_level(axes, panel.level)
    if panel.second:
        label, unit = panel.second
        both_ways: Any = (lambda n: n * unit, lambda b: b / unit)
        other = axes.secondary_yaxis("right", functions=both_ways)
        other.set_ylabel(plain(label))
    if panel.past:
        axes.margins(x=0)
        axes.axvspan(panel.past.value, axes.get_xlim()[1], color="#000000", alpha=0.05, linewidth=0)
        _draw_past(axes, panel.past)
    if len(panel.lines) > 1 or panel.lines[0].name:
        _legend(axes, below=below, columns=_legend_columns(panel, width))


def _draw_past(axes: Axes, past: Level) -> None:
    """Draw a dashed line with its label at the top, on the side that has room for it."""
    low, high = axes.get_xlim()
    right = past.value < (low + high) / 2 + 0.01 * (high - low)
    axes.axvline(past.value, color="#555555", linestyle=(0, (4, 3)), linewidth=1.1)
    axes.annotate(
        plain(past.label),
        (past.value, 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(4 if right else -4, -4),
        textcoords="offset points",
        ha="left" if right else "right",
        va="top",
        fontsize=9,
        color="#333333",
        bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5},
    )


def _draw_level(axes: Axes, level: Level) -> None:
    low, high = axes.get_ylim()
    if not low <= level.value <= high:
        return
    axes.axhline(level.value, color=QUIET, linestyle=(0, (4, 3)), linewidth=1.1, zorder=1)
    above = level.value < high - 0.1 * (high - low)  # else the label would leave the axes
    axes.annotate(
        plain(level.label),
        (1, level.value),
        xycoords=axes.get_yaxis_transform(),
        xytext=(-3, 2 if above else -2),
        textcoords="offset points",
        ha="right",
        va="bottom" if above else "top",
        fontsize=9,
        color="#555555",
    )


def _draw_line(axes: Axes, line: Line, legend: float) -> None:
    """Draw a line with its seeds and intervals; `legend` is the width of its name in inches."""
    look = line.look
    marker = look.marker if line.marked else ""
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
    x, y = [x for x, _ in line.points], [y for _, y in line.points]
    if line.intervals:
        ends = [ends or (y, y) for ends, y in zip(line.intervals, y, strict=True)]
        below = [y - low for (low, _), y in zip(ends, y, strict=True)]
        above = [high - y for (_, high), y in zip(ends, y, strict=True)]
        axes.errorbar(x, y, (below, above), fmt="none", ecolor=look.colour, elinewidth=1.2)
    axes.plot(
        x,
        y,
        color=look.colour,
        linestyle=DASHES[look.dashes % len(DASHES)],
        linewidth=1.6,
        marker=marker,
        markersize=12 if marker == "*" else 5.5,
        label=wrapped(f"{line.name} {line.note}".rstrip(), legend),
    )


def _legend(axes: Axes, *, below: bool, columns: int) -> None:
    """Draw the legend, each name once, beside the axes or below them."""
    handles, labels = axes.get_legend_handles_labels()
    named = dict(zip(labels, handles, strict=True))
    if below:
        from matplotlib.transforms import ScaledTranslation

        labels_below = max(label.get_text().count("\n") for label in axes.get_xticklabels())
        lines = axes.get_xlabel().count("\n") + labels_below + 1  # they push the legend down
        down = ScaledTranslation(0, -(22 + 13 * lines) / 72, axes.figure.dpi_scale_trans)
        axes.legend(
            named.values(),
            named.keys(),
            frameon=False,
            loc="upper left",
            ncols=columns,
            borderpad=0,
            bbox_to_anchor=(0, 0),
            bbox_transform=axes.transAxes + down,
        )
    else:
        axes.legend(
            named.values(),
            named.keys(),
            frameon=False,
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
        )


def _draw_forest(axes: Axes, panel: Forest, width: float) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.grid(axis="x", alpha=0.2)
    axes.set_axisbelow(True)
    axes.axvline(0, color=QUIET, linewidth=0.8)
    for places, row in zip(panel.places, panel.rows, strict=True):
        for y, mark in zip(places, row.marks, strict=True):
            _draw_mark(axes, y, mark, panel)
    middles = [sum(places) / len(places) for places in panel.places]
    axes.set_yticks(middles, [_row_label(row.label, panel, width) for row in panel.rows])
    axes.set_ylim(panel.places[-1][-1] + 0.6, -0.6)
    axes.tick_params(axis="y", length=0, labelsize=9 if panel.bars else 10)
    axes.xaxis.set_major_locator(MaxNLocator(3 if panel.bars else 5))
    if panel.grouped:
        _legend(axes, below=width < WIDTH, columns=2)
    elif width >= WIDTH or panel.bars:
        right = axes.secondary_yaxis("right")
        right.set_yticks(middles, [plain(row.marks[0].text) for row in panel.rows])
        right.tick_params(length=0)
        right.spines["right"].set_visible(False)


def _row_label(label: str, panel: Forest, width: float) -> str:
    """Return a row's label, wrapped to leave room for the marks."""
    return wrapped(label, (0.62 if panel.bars else 0.48) * width)


def _draw_mark(axes: Axes, y: float, mark: Mark, panel: Forest) -> None:
    """Draw a mean on its interval, and below it the seeds."""
    if mark.mean is None:
        return
    marker, colour = mark.look.marker, mark.look.colour
    if panel.bars:
        axes.barh(y, mark.mean, 0.66, color=colour, alpha=0.8)
        if mark.interval:
            axes.plot(mark.interval, (y, y), color="#333333", linewidth=1)
        return
    if mark.interval:
        axes.plot(mark.interval, (y, y), color=colour, linewidth=2, solid_capstyle="butt")
    axes.plot(
        mark.values,
        [y + (0.0 if panel.grouped else 0.25)] * len(mark.values),
        marker,
        color=colour,
        alpha=0.6,
        markersize=3.5,
        markeredgewidth=0,
    )
    axes.plot(mark.mean, y, marker, color=colour, markersize=6.5, label=plain(mark.name))


def _draw_heatmap(axes: Axes, panel: Heatmap, width: float) -> None:
    from matplotlib.colors import PowerNorm

    values = [[float("nan") if v is None else v for v in row] for row in panel.values]
    norm = PowerNorm(0.5 if panel.root else 1.0, 0, panel.most)
    image = axes.imshow(values, aspect="auto", cmap="Blues", norm=norm)
    if panel.scale:
        axes.figure.colorbar(image, ax=axes, label=plain(panel.scale), pad=0.02)
    for y, row in enumerate(() if panel.scale else panel.values):
        for x, value in enumerate(row):
            colour = "white" if (value or 0) > 0.6 * panel.most else "#333333"
            text = "-" if value is None else f"{value:.0f}"
            axes.text(x, y, text, ha="center", va="center", fontsize=9, color=colour)
    for number in panel.breaks:
        axes.axhline(number - 0.5, color="white", linewidth=2.5)
    named = [(x, plain(label)) for x, label in enumerate(panel.columns) if label]
    crowded = max((len(label) for _, label in named), default=0) * len(named) > 6 * width
    turned: dict[str, Any] = {}
    if crowded:
        turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks([x for x, _ in named], [label for _, label in named], **turned)
    axes.set_yticks([y for y, _ in panel.rows], [plain(label) for _, label in panel.rows])
    axes.set_ylabel(plain(panel.y_label))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _draw_field(axes: Axes, panel: Field, width: float) -> None:
    from matplotlib.ticker import MaxNLocator

    first, last = panel.x_range
    half = (last - first) / max(1, len(panel.values[0]) - 1) / 2
    low, high = panel.limits
    image = axes.imshow(
        panel.values,
        aspect="auto",
        cmap=panel.colours,
        vmin=low,
        vmax=high,
        extent=(first - half, last + half, len(panel.values) - 0.5, -0.5),
        interpolation="none",
    )
    bar = axes.figure.colorbar(image, ax=axes, label=plain(panel.scale), pad=0.02)
    bar.outline.set_visible(False)
    if panel.ticks:
        bar.set_ticks([n for n, _ in panel.ticks], labels=[plain(text) for _, text in panel.ticks])
    if panel.marks:
        axes.plot(
            *zip(*panel.marks, strict=True), "o", color="white", markersize=3.5, mec="#222222"
        )
    if panel.past:
        _draw_past(axes, panel.past)
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_ylabel(plain(panel.y_label))
    axes.spines[:].set_visible(False)


_DRAWN: dict[type, Any] = {
    Lines: _draw_lines,
    Forest: _draw_forest,
    Heatmap: _draw_heatmap,
    Field: _draw_field,
}
