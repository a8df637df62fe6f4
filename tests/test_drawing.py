"""Whatever a text holds, a picture of it is drawn."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from wordorder import drawing


@pytest.mark.parametrize(
    "text",
    [
        "$a$ {b}",
        "$\\frac{$",
        "^_{",
        "bad\udcff",
        "a\0b",
        "\x1b[1m",
        "我爱",
        "two\nlines",
        "l" * 255,
        "",
    ],
)
def test_any_title_is_drawn_as_it_is(text: str, tmp_path: Path) -> None:
    figure = Figure(figsize=(2, 1), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_title(drawing.plain(text))
    axes.set_yticks([0, 1], [drawing.plain(text), "1"])
    drawing.save(figure, tmp_path / "x.png")
    drawing.save(figure, tmp_path / "x.svg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.png", "x.svg"]


def test_what_can_be_drawn_stays() -> None:
    assert drawing.plain("rotary, 0.01 M parameters") == "rotary, 0.01 M parameters"
    assert drawing.plain("5 $ or 6 $") == r"5 \$ or 6 \$"
    assert drawing.plain("bad\udcff") == r"bad\udcff"


def test_a_matplotlibrc_that_asks_for_latex_stops_no_picture(tmp_path: Path) -> None:
    with matplotlib.rc_context({"text.usetex": True}):
        with drawing.style({"font.size": 9}):
            assert not matplotlib.rcParams["text.usetex"]
            assert matplotlib.rcParams["font.size"] == 9
        assert matplotlib.rcParams["text.usetex"]
