"""One picture of what a model knows of order: what changes cost, what is read, where it looks.

Drawn from findings alone. Attention is a map with a row for each head, which holds four heads as
well as a hundred.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wordorder import drawing
from wordorder.evaluation.attention_mass import AttentionMass
from wordorder.evaluation.intervals import half_width
from wordorder.evaluation.order import ProbeLoss
from wordorder.evaluation.position_probe import PositionReading
from wordorder.evaluation.probe import Findings
from wordorder.numerals import signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BARS, REMOVED, CHANCE = "#1f5a99", "#7a4fa3", "#c8501e"
BAR_INCHES, HEAD_INCHES, FEWEST_HEAD_INCHES = 0.24, 0.11, 1.6
TITLE_INCHES = 0.9
WIDTH = 12.5


class _Panel(NamedTuple):
    """What is drawn in one place, and the inches that it needs."""

    height: float
    draw: Callable[[Axes], None]


def draw_findings(path: Path, found: Findings, title: str) -> bool:
    """Draw findings into a png; returns whether there was anything to draw.

    Raises:
        OSError: the file cannot be written.
    """
    columns = [column for column in (_changes(found), _inside(found)) if column]
    if not columns:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = max(sum(panel.height for panel in column) for column in columns)
    with drawing.style({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(
            figsize=(WIDTH * len(columns) / 2, height + 0.4), layout="constrained", dpi=120
        )
        FigureCanvasAgg(figure)
        figure.suptitle(drawing.plain(title), fontsize=11)
        parts = figure.subfigures(1, len(columns), squeeze=False)[0]
        for part, column in zip(parts, columns, strict=True):
            heights = [panel.height for panel in column]
            axes = part.subplots(len(column), squeeze=False, gridspec_kw={"height_ratios": heights})
            for place, panel in zip(axes[:, 0], column, strict=True):
                panel.draw(place)
        drawing.save(figure, path)
    return True


def _changes(found: Findings) -> list[_Panel]:
    """The left column: what each change costs."""
    panels = []
    if found.reach:
        rows = found.reach.probes
        panels.append(_bars("One token, what is before it shuffled", [(rows, BARS)]))
    moves = [(part.probes, BARS) for part in (found.order, found.moved) if part]
    if moves:
        panels.append(_bars("Last quarter of a window, the context changed", moves))
    if found.removed:
        panels.append(_bars("The embedding taken out", [(found.removed.probes, REMOVED)]))
    return panels


def _inside(found: Findings) -> list[_Panel]:
    """The right column: what is in the model."""
    panels = []
    if found.position:
        reading = found.position
        panels.append(_Panel(TITLE_INCHES + 2.2, lambda axes: _draw_position(axes, reading)))
    if found.attention and found.attention.heads:
        mass = found.attention
        rows = max(FEWEST_HEAD_INCHES, HEAD_INCHES * len(mass.heads))
        panels.append(_Panel(TITLE_INCHES + rows, lambda axes: _draw_attention(axes, mass)))
    return panels


def _bars(title: str, groups: Sequence[tuple[Sequence[ProbeLoss], str]]) -> _Panel:
    count = sum(len(probes) for probes, _ in groups)

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        axes.set_title(title, loc="left", fontsize=10)
        place, labels = 0, []
        for probes, colour in groups:
            for probe in probes:
                labels.append(drawing.plain(probe.meaning))
                _draw_bar(axes, place, probe, colour)
                place += 1
        axes.axvline(0, color="#888888", linewidth=0.8)
        axes.set_yticks(range(count), labels)
        axes.set_ylim(count - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.18)
        axes.set_xlabel("loss added, nats (95% interval)")
        axes.xaxis.set_major_locator(MaxNLocator(5))

    return _Panel(TITLE_INCHES + BAR_INCHES * count, draw)


def _draw_bar(axes: Axes, place: int, probe: ProbeLoss, colour: str) -> None:
    value, error = probe.increase_nats, half_width(probe) or 0.0
    if value is None:
        axes.text(0, place, "  cannot", va="center", color="#888888")
        return
    axes.barh(place, value, 0.66, color=colour, alpha=0.85)
    axes.errorbar(value, place, xerr=error, color="#333333", linewidth=1)
    axes.annotate(
        signed(value),
        (max(value + error, 0), place),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
    )


def _draw_position(axes: Axes, reading: PositionReading) -> None:
    axes.set_title(f"The position read from hidden states ({reading.reader})", loc="left")
    layers = [each.layer for each in reading.layers]
    axes.axhline(reading.chance, color=CHANCE, linestyle="--", linewidth=1.2)
    axes.text(
        1.01,
        reading.chance,
        "always\nthe middle",
        transform=axes.get_yaxis_transform(),
        va="center",
        color=CHANCE,
    )
    axes.errorbar(
        layers,
        [each.error for each in reading.layers],
        yerr=[half_width(each) or 0.0 for each in reading.layers],
        color=BARS,
        marker="o",
        markersize=4,
    )
    axes.set_ylim(0, 1.15 * max(reading.chance, *(each.error for each in reading.layers)))
    axes.set_xticks(layers, ["input", *map(str, layers[1:])])
    axes.set_xlabel("after layer")
    axes.set_ylabel("mean error, positions")


def _draw_attention(axes: Axes, mass: AttentionMass) -> None:
    """A row for each head, a column for each bucket, one more for the first token."""
    from matplotlib.colors import PowerNorm

    rows = np.array([[*h.by_distance, np.nan, h.first_token] for h in mass.heads])
    even = np.array([*mass.even, np.nan, np.nan])
    shown = np.vstack([rows, np.full_like(even, np.nan), even])
    # A root: a head that looks at one token would leave the others white.
    norm = PowerNorm(0.5, 0, 100 * max(0.2, float(np.nanmax(shown))))
    image = axes.imshow(100 * shown, aspect="auto", cmap="Blues", norm=norm)
    layers = [head.layer for head in mass.heads]
    middles = {n: np.mean([i for i, own in enumerate(layers) if own == n]) for n in set(layers)}
    axes.set_yticks([*middles.values(), len(rows) + 1], [*(f"layer {n}" for n in middles), "even"])
    for i in range(1, len(layers)):
        if layers[i] != layers[i - 1]:
            axes.axhline(i - 0.5, color="white", linewidth=2.5)
    labels = [str(a) if a == b else f"{a}-{b}" for a, b in mass.buckets]
    places = [*range(len(labels)), len(labels) + 1]
    axes.set_xticks(places, [*labels, "first\ntoken"], rotation=45, ha="right")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("Where attention goes, a row for each head", loc="left")
    axes.set_xlabel("tokens back")
    axes.figure.colorbar(image, ax=axes, label="percent of attention", pad=0.02)
