"""The figures: what they show is what was found, and one embedding looks the same in all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wordorder import drawing
from wordorder.experiments import views
from wordorder.experiments.comparison import Comparison
from wordorder.experiments.summary import Summary, summarise
from wordorder.panels import (
    COLOURS,
    Forest,
    Level,
    Line,
    Lines,
    Look,
    Mark,
    MarkRow,
    look_of,
    looks,
)
from wordorder.positions import CATALOGUE

MadeUp = tuple[Comparison, list[dict[str, Any]]]


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


def test_an_embedding_has_its_colour_whatever_it_is_drawn_with() -> None:
    assert looks(["t5", "alibi", "rotary"])["rotary"] == looks(["rotary"])["rotary"]
    assert look_of("rotary:base=500").colour == look_of("rotary+alibi").colour == COLOURS[1]
    common = ("none", "rotary", "alibi", "learned", "sinusoidal")
    assert [look_of(name).colour for name in common] == list(COLOURS[:5])
    assert look_of("mine.Mine") == look_of("mine.Mine:option=1")


def test_forty_looks_can_be_told_apart() -> None:
    names = [*CATALOGUE, *(f"rotary:base={n}" for n in range(2, 8))]
    assert len(set(looks(names).values())) == len(names)


def test_every_figure_is_drawn_as_png_and_svg_the_same_each_time(
    summary: Summary, tmp_path: Path
) -> None:
    group = views.panels(summary)[0]
    seen = []
    for _ in range(2):
        drawing.save_panels(tmp_path / "losses", [group], kinds=("png", "svg"))
        found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        assert set(found) == {"losses.png", "losses.svg"}
        assert found["losses.png"].startswith(b"\x89PNG")
        seen.append(found)
    assert seen[0] == seen[1]


def test_names_are_no_formulas_and_no_markup(tmp_path: Path) -> None:
    """As a formula matplotlib could not read it; a page would take the tag for bold type."""
    name, escaped = "<b>a$x_$</b>", "&lt;b&gt;a$x_$&lt;/b&gt;"
    look = Look("#0072B2", "s")
    line = Line(name, look, ((64.0, 3.0), (128.0, 3.1)))
    level = Level(3.05, name)
    lines = Lines("odd", name, name, name, (line,), ((64.0, "64"), (128.0, "128")), level=level)
    mark = Mark(name, look, 0.1, None, (), name)
    forest = Forest("rows", name, name, (MarkRow(name, (mark,)),))
    drawing.save_panels(tmp_path / "odd", [[lines, forest]], kinds=("png", "svg"))
    for panel, times in ((lines, 4), (forest, 3)):
        assert drawing.svg(panel).count(f">{escaped}<") == times
        assert "<b>" not in drawing.svg(panel, narrow=True)


def test_guessing_is_marked_where_it_is_within_the_frame() -> None:
    line = Line("a", look_of("rotary"), ((1.0, 3.0), (2.0, 3.4)))
    panel = Lines("p", "p", "x", "y", (line,), level=Level(3.2, "guessing"))
    assert ">guessing<" in drawing.svg(panel)
    assert ">guessing<" not in drawing.svg(replace(panel, level=Level(7.0, "guessing")))


def test_one_seed_has_no_bars(made_up: MadeUp) -> None:
    facts, records = made_up
    summary = summarise(replace(facts, seeds=1), records[:6])
    for group in views.panels(summary):
        for panel in group:
            if isinstance(panel, Forest):
                marks = [mark for row in panel.rows for mark in row.marks]
                assert not any(mark.interval or mark.values for mark in marks)
            else:
                assert not any(any(line.intervals) or line.seeds for line in panel.lines)


def test_nothing_trained_has_no_figures(made_up: MadeUp) -> None:
    assert views.panels(summarise(replace(made_up[0], seeds=0), [])) == []


def test_a_legend_below_the_axes_covers_no_label(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = []
    monkeypatch.setattr(drawing, "save", lambda figure, *_, **__: figures.append(figure))
    line = Line("rotary", look_of("rotary"), ((64.0, 3.0), (128.0, 3.1)))
    ticks = ((64.0, "64\n1x"), (128.0, "128\n2x"))
    panel = Lines("a", "title", "tokens of context", "nats", (line, line), ticks=ticks)
    drawing.save_panels(Path("x.png"), [[panel, panel]], width=4.0)
    figures[0].draw_without_rendering()
    for axes in figures[0].axes:
        label, legend = axes.xaxis.label.get_window_extent(), axes.get_legend().get_tightbbox()
        assert legend.y1 <= label.y0 and legend.y0 >= 0


def test_a_name_that_begins_with_an_underscore_is_in_the_legend() -> None:
    lines = tuple(
        Line(name, look_of("rotary"), ((1.0, 3.0), (2.0, 3.4))) for name in ("_mine.Emb", "b")
    )
    drawn = drawing.svg(Lines("p", "p", "x", "y", lines))
    assert "_mine.Emb<" in drawn
