"""One self-contained HTML page of text, tables and figures, for any experiment.

Its figures are inline SVG, each drawn twice: for a wide page and for a phone. It has no script, and
a content security policy forbids scripts and requests, so it still opens offline, years later, from
an e-mail. All text is escaped; no part accepts HTML.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from wordorder import drawing
from wordorder.atomic import write_text
from wordorder.errors import BadInput
from wordorder.experiments.folder import FIGURE_KINDS, figure_files
from wordorder.panels import Panel
from wordorder.table import Table

try:
    import jinja2
except ImportError:
    raise BadInput(
        "the report needs an extra: pip install 'wordorder[compare]'",
        code="experiments.needs-jinja2",
    ) from None

if TYPE_CHECKING:
    from jinja2 import Template

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True)
class Heading:
    """A small heading."""

    kind: ClassVar = "heading"
    text: str


@dataclass(frozen=True)
class Paragraph:
    """A paragraph."""

    kind: ClassVar = "text"
    text: str


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    kind: ClassVar = "items"
    items: Sequence[str]


@dataclass(frozen=True)
class Code:
    """A command or a file, in a fixed-width font."""

    kind: ClassVar = "code"
    text: str


@dataclass(frozen=True)
class Emphasis:
    """The main result: the first sentence in large type, then the parts."""

    kind: ClassVar = "emphasis"
    first: str
    parts: Sequence[Heading | Paragraph | Items] = ()


@dataclass(frozen=True)
class Figure:
    """A panel with its title above and its caption beneath."""

    kind: ClassVar = "figure"
    panel: Panel
    caption: str = ""

    def svg(self) -> str:
        """Return the panel for a wide page and for a narrow one; CSS shows one of them."""
        return drawing.svg(self.panel) + drawing.svg(self.panel, narrow=True)


Part = Heading | Paragraph | Items | Code | Emphasis | Table | Figure


@dataclass(frozen=True)
class Section:
    """A heading (none if it is empty) and its parts."""

    heading: str
    parts: Sequence[Part] = ()


def page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """Return a whole page as HTML.

    Args:
        title, lead: the heading, and the line under it.
        sections: in order; names of panels must be unique.
    """
    return _template().render(title=title, lead=lead, sections=sections, policy=POLICY)


def write_files(
    folder: Path,
    table: str,
    groups: Sequence[Sequence[Panel]],
    html: str,
    names: Iterable[str],
) -> None:
    """Write table.csv, figures/ and report.html of an experiment.

    Args:
        groups: the panels of each figure, which is named after the first.
        names: of all figures that there can be: those of an earlier report that are not drawn now
            are removed.
    """
    write_text(folder / "table.csv", table)
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    for group in groups:
        drawing.save_panels(figures / group[0].name, [group], kinds=FIGURE_KINDS)
    for file in figure_files(set(names) - {group[0].name for group in groups}):
        (folder / file).unlink(missing_ok=True)
    write_text(folder / "report.html", html)


@cache
def _template() -> Template:
    loader = jinja2.PackageLoader(__package__, package_path="")
    return jinja2.Environment(loader=loader, autoescape=True).get_template("page.html")
