"""Draws panels with matplotlib, into files and as inline SVG.

Text is drawn literally (no mathtext), and files are written atomically.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordorder.atomic import replacing
from wordorder.panels import Panel
from wordorder.plotting import NARROW, WIDTH, draw, height_of, plain, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEFT = 0.8  # inches beside the axes, above which no title begins
# 10 points are 13 px in the SVG; the fixed salt makes its ids, and so the file, reproducible.
STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "wordorder",
    "svg.fonttype": "none",  # text stays text: smaller files, whose words can be searched
}


@contextmanager
def style(changes: Any = None) -> Iterator[None]:
    """Use matplotlib's defaults with these changes, and ignore the user's matplotlibrc.

    A matplotlibrc may require LaTeX; if that is missing, a finished run would fail to draw.
    """
    from matplotlib import rc_context, rcdefaults, rcParams

    with rc_context():
        rcdefaults()
        rcParams.update(changes or {})
        yield


def save(figure: Figure, path: str | Path | io.StringIO, **how: Any) -> None:
    """Save a figure as `Figure.savefig` does, without its warnings about glyphs and layout.

    Raises:
        OSError: the file cannot be written.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # a box is drawn instead
        warnings.filterwarnings("ignore", "constrained_layout not applied")  # a very long name
        if isinstance(path, io.StringIO):
            figure.savefig(path, **how)
            return
        with replacing(path) as beside:
            figure.savefig(beside, **how)


def save_panels(
    path: Path,
    columns: Sequence[Sequence[Panel]],
    *,
    title: str = "",
    width: float = WIDTH,
    kinds: Sequence[str] = ("png",),
    dpi: int = 150,
) -> None:
    """Draw columns of panels into one file of each kind.

    Args:
        path: the suffix is replaced by the kind.
        columns: the panels of each column, from top to bottom.
        width: inches of each column.
        kinds: file formats, such as png or svg.
        dpi: pixels per inch of a PNG.

    Raises:
        OSError: a file cannot be written.
    """
    with style(STYLE):
        figure = _figure(columns, title, width)
        for kind in kinds:
            metadata = {"Date": None} if kind == "svg" else {}
            save(figure, path.with_suffix(f".{kind}"), dpi=dpi, metadata=metadata)


def svg(panel: Panel, *, narrow: bool = False) -> str:
    """Return a panel as an inline SVG element, with selectable text and without its title.

    Args:
        narrow: draw it for a page as narrow as a phone.
    """
    out = io.StringIO()
    salt = f"{panel.name}{' narrow' * narrow}"  # ids of several figures must differ
    with style({**STYLE, "svg.hashsalt": salt}):
        figure = _figure([[panel]], "", NARROW if narrow else WIDTH, titled=False)
        save(figure, out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # would style the whole page
    text = re.sub(r' id="[a-zA-Z_.0-9]+_\d+"', "", text)  # group ids repeat in every figure
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)  # use the page's font
    kind = "narrow" if narrow else "broad"
    label = escape(panel.title)
    return text.replace("<svg", f'<svg class="{kind}" role="img" aria-label="{label}"', 1)


def _figure(
    columns: Sequence[Sequence[Panel]], title: str, width: float, titled: bool = True
) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [[height_of(panel, width) for panel in column] for column in columns]
    height = max(sum(each) for each in heights) + (0.4 if title else 0.0)
    figure = Figure(figsize=(width * len(columns), height), layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(wrapped(title, width * len(columns)), fontsize=11)
    parts = figure.subfigures(1, len(columns), squeeze=False)[0] if len(columns) > 1 else [figure]
    for part, column, each in zip(parts, columns, heights, strict=True):
        grid = part.subplots(len(column), squeeze=False, gridspec_kw={"height_ratios": each})
        for axes, panel in zip(grid[:, 0], column, strict=True):
            if titled:
                axes.set_title(wrapped(panel.title, width - LEFT), loc="left")
            axes.set_xlabel(wrapped(panel.x_label, width))
            draw(axes, panel, width)
    return figure


__all__ = ["WIDTH", "plain", "save", "save_panels", "style", "svg"]
