"""Pictures: text as it is in them, and saved whole or not at all."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordorder.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST = 160  # characters


def plain(text: str) -> str:
    """Return text that matplotlib shows as it is.

    Between two dollars it would read formulas; it cannot draw what is no character (of a file name
    that is not UTF-8, or control characters); and a name of 255 letters leaves no room to draw.
    """
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}..."
    shown = "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)
    return shown.replace("$", r"\$")


@contextmanager
def style(changes: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Draw by Matplotlib's own defaults and these changes, whatever a matplotlibrc says.

    It may ask for LaTeX, which need not be there, and a picture is drawn when a run is done.
    """
    from matplotlib import rc_context, rcdefaults, rcParams

    with rc_context():
        rcdefaults()
        rcParams.update(changes or {})
        yield


def save(figure: Figure, path: str | Path, **how: Any) -> None:
    """Draw a figure into a file, as `Figure.savefig` does, without a word on what has no place.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path) as beside, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # a box takes its place
        warnings.filterwarnings("ignore", "constrained_layout not applied")  # a very long name
        figure.savefig(beside, **how)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
