"""A table of text cells, rendered for a terminal, as Markdown, CSV or HTML."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

# A table with more columns becomes a list of cells per row on a narrow page.
MOST_SIDE_BY_SIDE = 3


@dataclass(frozen=True)
class Table:
    """A table of text cells.

    Args:
        columns: the headings; if all are empty, a terminal shows no heading row.
        rows: one cell for each column; the first cell names the row.
        title, lead: text above the table, in bold and in grey.
        note: text below the table.
        left: indices of left-aligned columns; the others are right-aligned.
        wrap: indices of columns that a terminal may fold into several lines; None: all.
        row_styles, column_styles: a rich style, such as `dim`, by index.
        gap: spaces between columns in a terminal.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str | Text]]
    title: str = ""
    lead: str = ""
    note: str = ""
    left: frozenset[int] = frozenset({0})
    wrap: frozenset[int] | None = None
    row_styles: Mapping[int, str] = field(default_factory=dict)
    column_styles: Mapping[int, str] = field(default_factory=dict)
    gap: int = 2

    def terminal(self) -> RenderableType:
        """Return the table for a rich console."""
        from rich.console import Group
        from rich.table import Table as Grid
        from rich.text import Text

        grid = Grid(box=None, padding=(0, self.gap, 0, 0), show_header=any(self.columns))
        for i, name in enumerate(self.columns):
            folds = self.wrap is None or i in self.wrap
            grid.add_column(
                Text(name),
                justify="left" if i in self.left else "right",
                overflow="fold" if folds else "ellipsis",
                no_wrap=not folds,
                style=self.column_styles.get(i, ""),
            )
        for i, row in enumerate(self.rows):
            cells = (Text(cell) if isinstance(cell, str) else cell for cell in row)
            grid.add_row(*cells, style=self.row_styles.get(i))
        parts: list[RenderableType] = [grid]
        if self.note:
            parts.append(Text(self.note, style="dim"))
        if self.lead:
            parts.insert(0, Text(self.lead, style="dim"))
        if self.title:
            parts.insert(0, Text(self.title, style="bold"))
        return Group(*parts) if len(parts) > 1 else grid

    def markdown(self) -> str:
        """Return the table in Markdown, with its title as a heading."""
        above = [f"### {self.title}", ""] * bool(self.title) + [self.lead, ""] * bool(self.lead)
        below = ["", self.note] * bool(self.note)
        rules = ["---" if i in self.left else "---:" for i in range(len(self.columns))]
        rows = [self.columns, rules, *([_in_markdown(str(c)) for c in row] for row in self.rows)]
        lines = ["|".join(["", *(f" {c} " if c else " " for c in row), ""]) for row in rows]
        return "\n".join([*above, *lines, *below]) + "\n"

    def csv(self) -> str:
        """Return the headings and the rows as CSV."""
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([self.columns, *self.rows])
        return out.getvalue()

    def html(self) -> str:
        """Return the table as HTML; its text is escaped."""
        head = "".join(
            f'<th scope="col"{self._kind(i)}>{escape(name)}</th>'
            for i, name in enumerate(self.columns)
        )
        body = "".join(f"<tr>{self._row(row)}</tr>" for row in self.rows)
        kind = "wide stacked" if len(self.columns) > MOST_SIDE_BY_SIDE else "wide"
        # Not a <caption>, which would scroll sideways with the table.
        note = f'<p class="caption">{escape(self.note)}</p>' if self.note else ""
        return (
            f'<div class="{kind}"><table><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>{note}"
        )

    def _row(self, row: Sequence[str | Text]) -> str:
        cells = []
        for i, cell in enumerate(map(str, row)):
            label = f' data-label="{escape(self.columns[i])}"' if i and cell else ""
            tag = "td" if i else 'th scope="row"'
            cells.append(f"<{tag}{self._kind(i)}{label}>{escape(cell)}</{tag[:2]}>")
        return "".join(cells)

    def _kind(self, column: int) -> str:
        return ' class="text"' if column and column in self.left else ""


def _in_markdown(cell: str) -> str:
    """Return text without pipes and line ends, which would end a Markdown cell or row."""
    return "<br>".join(" ".join(line.split()) for line in cell.splitlines()).replace("|", r"\|")
