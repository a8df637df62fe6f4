"""Panels drawn by plotly: the figures of the page, which say their numbers under the pointer."""

from __future__ import annotations

import textwrap
from html import escape
from typing import Any

from wordorder.errors import BadInput
from wordorder.experiments.panels import Forest, Line, Lines, Look, Mark, Panel

try:
    import plotly.graph_objects as go
    import plotly.io
    from plotly.offline import get_plotlyjs
except ImportError:
    raise BadInput("the page needs an extra: pip install 'wordorder[compare]'") from None

DASHES = ("solid", "dash", "dot", "dashdot")
FAINT = 0.35
SIZES = {"triangle-up": 1.3, "triangle-down": 1.3}  # plotly's triangles look smaller than the rest
TEXT, GRID, ZERO = "#24292f", "#e6e6e6", "#888888"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
LEGEND_ROW, MARK, GROUPED_MARK = 22, 40, 16  # px
NAME_WIDTH, LEGEND_WIDTH = 20, 36  # characters
# Above the frame: below, it would lie on the axis title where the page is narrow.
LEGEND = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 13}}


def script() -> str:
    """Return plotly.js."""
    return get_plotlyjs()


def html(panel: Panel) -> str:
    """Return a panel as HTML, to be drawn by `script`."""
    return plotly.io.to_html(
        chart(panel),
        config={"displayModeBar": False, "responsive": True},
        include_plotlyjs=False,
        full_html=False,
        div_id=f"figure-{panel.name}",
    )


def chart(panel: Panel) -> go.Figure:
    """Return a panel as a plotly figure."""
    return _lines(panel) if isinstance(panel, Lines) else _forest(panel)


def _axis(title: str, **more: Any) -> dict[str, Any]:
    return {
        "title": {"text": escape(title), "font": {"size": 13}},
        "gridcolor": GRID,
        "zeroline": False,
        "fixedrange": True,  # a finger that scrolls the page past a figure does not zoom it
        "automargin": True,
        **more,
    }


def _layout(**more: Any) -> dict[str, Any]:
    return {
        "template": "none",
        "font": {"family": FONT, "size": 13, "color": TEXT},
        "hoverlabel": {"font": {"size": 13}, "align": "left"},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "dragmode": False,
        **more,
    }


def _marker(look: Look, size: float) -> dict[str, Any]:
    size *= SIZES.get(look.marker, 1.0)
    return {"color": look.colour, "symbol": look.marker, "size": size}


def _lines(panel: Lines) -> go.Figure:
    x_axis = _axis(panel.x_label)
    if panel.ticks:
        x_axis |= {
            "type": "log",
            "tickvals": [x for x, _ in panel.ticks],
            "ticktext": [escape(label).replace("\n", "<br>") for _, label in panel.ticks],
        }
    figure = go.Figure()
    for line in panel.lines:
        _add_line(figure, line)
    if panel.band:
        figure.add_hrect(*panel.band, fillcolor="#000000", opacity=0.06, line_width=0)
        figure.add_hline(0, line={"color": ZERO, "width": 1})
    figure.update_layout(
        _layout(
            xaxis=x_axis,
            yaxis=_axis(panel.y_label, range=panel.y_range),
            height=380 + LEGEND_ROW * -(-len(panel.lines) // 2),
            margin={"l": 10, "r": 10, "t": 10, "b": 10},
            legend=LEGEND,
        )
    )
    return figure


def _add_line(figure: go.Figure, line: Line) -> None:
    look = line.look
    for seed in line.seeds:
        figure.add_scatter(
            x=[x for x, _ in seed],
            y=[y for _, y in seed],
            mode="lines" if line.seeds_joined else "markers",
            line={"color": look.colour, "width": 1},
            marker=_marker(look, 5),
            opacity=FAINT,
            legendgroup=line.name,
            showlegend=False,
            hoverinfo="skip",
        )
    bars = [i or (y, y) for i, (_, y) in zip(line.intervals, line.points, strict=False)]
    heights = [y for _, y in line.points]
    figure.add_scatter(
        x=[x for x, _ in line.points],
        y=heights,
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [high - y for (_, high), y in zip(bars, heights, strict=True)],
            "arrayminus": [y - low for (low, _), y in zip(bars, heights, strict=True)],
            "thickness": 1.5,
            "width": 0,
        }
        if bars
        else None,
        mode="lines+markers",
        line={"color": look.colour, "width": 2, "dash": DASHES[look.dashes % len(DASHES)]},
        marker=_marker(look, 8),
        name=_folded(f"{line.name} {line.note}", LEGEND_WIDTH),
        legendgroup=line.name,
        text=[_hover(line.name, lines) for lines in line.hover],
        hovertemplate="%{text}<extra></extra>",
    )


def _forest(panel: Forest) -> go.Figure:
    figure, named = go.Figure(), set()
    for places, row in zip(panel.places, panel.rows, strict=True):
        for y, mark in zip(places, row.marks, strict=True):
            _add_mark(figure, y, mark, row.label, panel.grouped, named)
    figure.add_vline(0, line={"color": ZERO, "width": 1})
    down = panel.places[-1][-1] + 1
    legend = LEGEND_ROW * -(-len(named) // 3) if panel.grouped else 0
    figure.update_layout(
        _layout(
            xaxis=_axis(panel.x_label, range=_reach(panel)),
            yaxis=_axis(
                "",
                tickvals=[sum(places) / len(places) for places in panel.places],
                ticktext=[_folded(row.label, NAME_WIDTH) for row in panel.rows],
                range=(down - 0.45, -0.55),
                showgrid=False,
            ),
            height=70 + legend + (GROUPED_MARK if panel.grouped else MARK) * down,
            margin={"l": 10, "r": 10, "t": 10, "b": 10},
            legend=LEGEND,
            showlegend=panel.grouped,
        )
    )
    return figure


def _reach(panel: Forest) -> tuple[float, float]:
    """Return the range of x that holds every mark with some room at its sides."""
    marks = [mark for row in panel.rows for mark in row.marks]
    ends = [x for m in marks for x in (m.mean, *m.values, *(m.interval or ()))]
    low, high = min(0.0, *ends), max(0.0, *ends)
    room = 0.05 * (high - low) or 0.01
    return low - room, high + room


def _add_mark(
    figure: go.Figure, y: float, mark: Mark, label: str, grouped: bool, named: set[str]
) -> None:
    """Add a mean on its interval, and the seeds so far beneath that neither hides the other."""
    beneath, faint, large = (0.0, FAINT, 9) if grouped else (0.25, 0.6, 11)
    text = _hover(mark.name, (label, *mark.hover) if grouped else mark.hover)
    shown = {"hovertemplate": "%{text}<extra></extra>", "legendgroup": mark.name}
    if mark.interval:
        figure.add_scatter(
            x=mark.interval,
            y=(y, y),
            mode="lines",
            line={"color": mark.look.colour, "width": 3},
            text=[text] * 2,
            showlegend=False,
            **shown,
        )
    figure.add_scatter(
        x=mark.values,
        y=[y + beneath] * len(mark.values),
        mode="markers",
        marker={**_marker(mark.look, 6), "opacity": faint},
        text=[text] * len(mark.values),
        showlegend=False,
        **shown,
    )
    figure.add_scatter(
        x=[mark.mean],
        y=[y],
        mode="markers",
        marker=_marker(mark.look, large),
        text=[text],
        name=_folded(mark.name, LEGEND_WIDTH),
        showlegend=mark.name not in named,
        **shown,
    )
    named.add(mark.name)


def _folded(name: str, width: int) -> str:
    """Return a name in lines that leave room for a figure on a phone."""
    return "<br>".join(escape(line) for line in textwrap.wrap(name, width))


def _hover(name: str, lines: tuple[str, ...]) -> str:
    return "<br>".join([f"<b>{escape(name)}</b>", *(escape(line) for line in lines)])
