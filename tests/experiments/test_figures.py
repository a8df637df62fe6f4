"""The figures: what they show is what was found, and one embedding looks the same in all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wordorder.experiments import charts, figures, views
from wordorder.experiments.panels import MARKERS, Forest, Line, Lines, Look, Mark, Row, looks
from wordorder.experiments.summary import Summary, summarise

MadeUp = tuple[dict[str, Any], list[dict[str, Any]]]


@pytest.fixture
def summary(made_up: MadeUp) -> Summary:
    return summarise(*made_up)


def test_the_rows_are_the_differences(summary: Summary) -> None:
    panel = views.losses(summary)
    assert panel is not None
    assert [row.label for row in panel.rows] == [r.position for r in summary.ranked]
    change = summary.ranked[0].against_baseline
    mark = panel.rows[0].marks[0]
    assert change is not None
    assert (mark.mean, mark.values) == (change.mean, change.difference.values)
    assert mark.interval == (change.low, change.high)


def test_no_point_stands_for_cannot(summary: Summary) -> None:
    panel = views.same_targets(summary)
    assert panel is not None
    points = {line.name: [x for x, _ in line.points] for line in panel.lines}
    assert points["learned"] == [64]
    assert points["alibi"] == [64, 128, 256, 512, 1024]
    assert {line.name: line.note for line in panel.lines}["learned"] == "(cannot at 2x)"


def test_curves_are_means_and_every_seed(summary: Summary) -> None:
    panel = views.curves(summary)
    assert panel is not None
    line = panel.lines[0]
    assert len(line.seeds) == 3
    last = [seed[-1][1] for seed in line.seeds]
    assert line.points[-1] == (2_048_000, pytest.approx(sum(last) / 3))


def test_one_embedding_looks_the_same_everywhere(summary: Summary) -> None:
    seen: dict[str, set[Look]] = {}
    for group in views.panels(summary):
        for panel in group:
            marks = (
                panel.lines
                if isinstance(panel, Lines)
                else [mark for row in panel.rows for mark in row.marks]
            )
            for mark in marks:
                seen.setdefault(mark.name, set()).add(mark.look)
    assert set(seen) == {r.position for r in summary.results}
    assert all(len(found) == 1 for found in seen.values())


def test_forty_looks_can_be_told_apart() -> None:
    found = looks([f"e{i}" for i in range(41)], "e0")
    assert len({(look.colour, look.marker) for look in found.values()}) == 41
    assert {look.marker for look in found.values()} <= set(figures.MARKERS)
    assert set(MARKERS) <= set(figures.MARKERS)


def test_every_figure_is_drawn_as_png_and_svg_the_same_each_time(
    summary: Summary, tmp_path: Path
) -> None:
    group = views.panels(summary)[0]
    figures.save_figure(tmp_path, group)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(first) == {"losses.png", "losses.svg"}
    assert first["losses.png"].startswith(b"\x89PNG")
    figures.save_figure(tmp_path, group)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


def test_names_are_no_formulas_and_no_markup(tmp_path: Path) -> None:
    """As a formula matplotlib could not read it; plotly would take the tag for bold type."""
    name, escaped = "<b>a$x_$</b>", "&lt;b&gt;a$x_$&lt;/b&gt;"
    look = Look("#0072B2", "square")
    line = Line(name, look, ((64.0, 3.0), (128.0, 3.1)), ((name,), ()))
    lines = Lines("odd", name, name, name, (line,), ticks=((64.0, "64"), (128.0, "128")))
    mark = Mark(name, look, 0.1, None, (), (name,), name)
    forest = Forest("rows", name, name, (Row(name, (mark,)),))
    figures.save_figure(tmp_path, [lines, forest])
    for panel in (lines, forest):
        drawn = charts.chart(panel)
        assert drawn.data[-1].name == escaped
        assert drawn.data[-1].text[0] == f"<b>{escaped}</b><br>{escaped}"
        assert drawn.layout.xaxis.title.text == escaped


def test_one_seed_has_no_bars(made_up: MadeUp) -> None:
    facts, records = made_up
    summary = summarise({**facts, "seeds": 1}, records[:6])
    for group in views.panels(summary):
        for panel in group:
            if isinstance(panel, Forest):
                marks = [mark for row in panel.rows for mark in row.marks]
                assert not any(mark.interval or mark.values for mark in marks)
            else:
                assert not any(any(line.intervals) or line.seeds for line in panel.lines)


def test_nothing_trained_has_no_figures(made_up: MadeUp) -> None:
    assert views.panels(summarise({**made_up[0], "seeds": 0}, [])) == []
