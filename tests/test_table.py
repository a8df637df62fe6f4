"""A table shows the same cells in a terminal, in Markdown, as CSV and as HTML."""

from __future__ import annotations

import csv
import io
import re

import pytest
from rich.console import Console
from rich.text import Text

from wordorder.table import Table

TABLE = Table(
    ["embedding", "loss", "what it does"],
    [["alibi", "3.5", "a | b\nc"], ["[red]x", "<b>", ""]],
    title="Losses",
    lead="of the same tokens",
    note="± is the interval.",
    left=frozenset({0, 2}),
)


def shown(table: Table, width: int = 80) -> list[str]:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(table.terminal())
    return [line.rstrip() for line in captured.get().splitlines()]


def test_in_a_terminal() -> None:
    assert shown(TABLE) == [
        "Losses",
        "of the same tokens",
        "embedding  loss  what it does",
        "alibi       3.5  a | b",
        "                 c",
        "[red]x      <b>",
        "± is the interval.",
    ]


def test_without_headings_there_is_no_line_of_them() -> None:
    rows = [["time", Text("9 s", style="bold")]]
    assert shown(Table(["", ""], rows)) == ["time  9 s"]


@pytest.mark.parametrize("wrap", [None, frozenset({0}), frozenset()])
def test_columns_fold_where_they_may(wrap: frozenset[int] | None) -> None:
    table = Table(["first", "second"], [["abcdefgh " * 2, "ijklmnop " * 3]], wrap=wrap)
    lines = shown(table, 40)
    assert (len(lines) > 2) == (wrap != frozenset())
    whole = any(line.endswith("ijklmnop ijklmnop ijklmnop") for line in lines)
    assert whole == (wrap == frozenset({0}))


def test_in_markdown_no_cell_ends_early() -> None:
    assert TABLE.markdown().splitlines() == [
        "### Losses",
        "",
        "of the same tokens",
        "",
        "| embedding | loss | what it does |",
        "| --- | ---: | --- |",
        r"| alibi | 3.5 | a \| b<br>c |",
        "| [red]x | <b> | |",
        "",
        "± is the interval.",
    ]


def test_as_csv_it_is_read_back() -> None:
    found = list(csv.reader(io.StringIO(TABLE.csv())))
    assert found == [TABLE.columns, *TABLE.rows]


def test_as_html_text_is_no_markup_and_cells_have_labels() -> None:
    html = TABLE.html()
    assert "&lt;b&gt;" in html and "<b>" not in html
    assert '<td data-label="loss">3.5</td>' in html
    assert '<td class="text"></td>' in html  # an empty cell has no label
    assert re.findall(r'<p class="caption">(.*?)</p>', html) == ["± is the interval."]
    assert '<div class="wide">' in html
    wider = Table(["a", "b", "c", "d"], [["1", "2", "3", "4"]])
    assert '<div class="wide stacked">' in wider.html()
