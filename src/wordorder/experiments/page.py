"""One self-contained HTML page of text, tables and plotly figures, for any experiment.

plotly.js is inside it, once, and a content security policy forbids the page to fetch
anything: it opens offline, years later, from an e-mail. Whatever it is given is text and
is escaped; no part takes HTML.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from wordorder.experiments import charts
from wordorder.experiments.panels import Panel

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"

STYLE = """
:root { --ink: #24292f; --quiet: #57606a; --line: #d8dee4; --ground: #f6f8fa; --blue: #0a4f86; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: #fff; color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 50rem; margin: 0 auto; padding: 2rem 1.1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.8rem 0 .6rem; padding-top: .9rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.6rem 0 .3rem; }
p, ul { margin: .5rem 0; overflow-wrap: break-word; }
ul { padding-left: 1.2rem; }
li { margin: .25rem 0; }
.lead, figcaption, .caption { color: var(--quiet); }
.verdict { background: var(--ground); border-left: 4px solid var(--blue); border-radius: 4px;
  padding: .9rem 1.2rem; margin: 1.2rem 0; }
.verdict h3 { font-size: .95rem; margin: .9rem 0 .1rem; }
.verdict ul { margin: .1rem 0; }
.verdict li { margin: .1rem 0; }
.verdict > p:first-child { font-size: 1.15rem; font-weight: 600; margin-top: 0; }
figure { margin: 1rem 0 1.6rem; break-inside: avoid; }
figcaption, .caption { font-size: .9rem; line-height: 1.45; }
.wide { overflow-x: auto; margin: 1rem 0 .5rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; line-height: 1.4;
  font-variant-numeric: tabular-nums; }
figcaption { margin-top: .4rem; }
th, td { text-align: right; vertical-align: top; padding: .4rem 0 .4rem 1.1rem;
  border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th.text, td.text { text-align: left; }
td { white-space: pre; }
td.text { white-space: pre-line; }
thead th { vertical-align: bottom; white-space: nowrap; }
tbody th { font-weight: 600; }
pre { background: var(--ground); border-radius: 4px; padding: .8rem 1rem; font-size: .85rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  tbody th { min-width: 6rem; max-width: 8rem; overflow-wrap: anywhere; }
  th, td { padding-left: .7rem; }
}
@media print {
  @page { margin: 14mm; }
  body { font-size: 12px; }
  main { max-width: none; padding: 0; }
  h2, h3 { break-after: avoid; }
  tr, .verdict { break-inside: avoid; }
  .wide { overflow: visible; }
  th, td { padding-left: .6rem; }
  table, pre, figcaption, .caption { font-size: 12px; }
}
"""

# A printed page is narrower than the window; figures are drawn anew for it, and back.
PRINT_SCRIPT = """
const figures = () => document.querySelectorAll('.js-plotly-plot');
addEventListener('beforeprint', () => figures().forEach(f => Plotly.relayout(f, {width: 640})));
addEventListener('afterprint', () => figures().forEach(f => Plotly.relayout(f, {autosize: true})));
"""


@dataclass(frozen=True)
class Heading:
    """A small heading, of what comes next."""

    text: str

    def html(self) -> str:
        return f"<h3>{escape(self.text)}</h3>"


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str

    def html(self) -> str:
        return f"<p>{escape(self.text)}</p>"


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    items: Sequence[str]

    def html(self) -> str:
        return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in self.items)}</ul>"


@dataclass(frozen=True)
class Code:
    """A command or a file, as it is typed."""

    text: str

    def html(self) -> str:
        return f"<pre><code>{escape(self.text)}</code></pre>"


@dataclass(frozen=True)
class Emphasis:
    """What a reader is to take away: the first sentence large, then the parts."""

    first: str
    parts: Sequence[Heading | Text | Items] = ()

    def html(self) -> str:
        rest = "".join(part.html() for part in self.parts)
        return f'<div class="verdict"><p>{escape(self.first)}</p>{rest}</div>'


@dataclass(frozen=True)
class Table:
    """A table; the first column names the rows.

    Args:
        left: columns of words, which are aligned to the left.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    left: frozenset[int] = frozenset()

    def html(self) -> str:
        head = "".join(
            f'<th scope="col"{self._kind(column)}>{escape(name)}</th>'
            for column, name in enumerate(self.header)
        )
        body = "".join(f"<tr>{self._row(row)}</tr>" for row in self.rows)
        # Not a <caption>: where the table is scrolled sideways its words would be too.
        caption = f'<p class="caption">{escape(self.caption)}</p>' if self.caption else ""
        return (
            f'<div class="wide"><table><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>{caption}"
        )

    def _row(self, row: Sequence[str]) -> str:
        first, *rest = row
        cells = (
            f"<td{self._kind(column)}>{escape(cell)}</td>"
            for column, cell in enumerate(rest, start=1)
        )
        return f'<th scope="row">{escape(first)}</th>{"".join(cells)}'

    def _kind(self, column: int) -> str:
        return ' class="text"' if column in self.left else ""


@dataclass(frozen=True)
class Figure:
    """A panel drawn by plotly, with its title above and its caption beneath."""

    panel: Panel
    caption: str = ""

    def html(self) -> str:
        drawn = charts.html(self.panel)
        caption = f"<figcaption>{escape(self.caption)}</figcaption>" if self.caption else ""
        return f"<figure><h3>{escape(self.panel.title)}</h3>{drawn}{caption}</figure>"


Part = Heading | Text | Items | Code | Emphasis | Table | Figure


@dataclass(frozen=True)
class Section:
    """A heading (none where it is empty) and what is under it."""

    heading: str
    parts: Sequence[Part] = ()

    def html(self) -> str:
        heading = f"<h2>{escape(self.heading)}</h2>" if self.heading else ""
        return f"<section>{heading}{''.join(part.html() for part in self.parts)}</section>"


def page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """Return a whole page as HTML.

    Args:
        title, lead: the heading, and the line under it.
        sections: in order; the names of their panels are unlike.
    """
    body = "\n".join(section.html() for section in sections)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
<script>{charts.script()}</script>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
<p class="lead">{escape(lead)}</p>
{body}
</main>
<script>{PRINT_SCRIPT}</script>
</body>
</html>
"""
