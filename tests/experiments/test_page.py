"""The page, opened in a browser: nothing fetched, nothing broken, nothing taken for markup."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from wordorder.experiments.page import (
    POLICY,
    Code,
    Emphasis,
    Figure,
    Heading,
    Items,
    Paragraph,
    Section,
    page,
)
from wordorder.panels import Forest, Line, Lines, Look, Mark, MarkRow
from wordorder.table import Table

Browser = Callable[..., dict[str, Any]]
HOSTILE = "</script><script>window.hacked = true</script><b>\"bold\" & 'co'</b>"
LOOK = Look("#0072B2", "s")


def lines(name: str, text: str = "a") -> Lines:
    line = Line(text, LOOK, ((64.0, 3.0), (128.0, 3.1)), note=text)
    return Lines(name, text, text, text, (line,), ticks=((64.0, text), (128.0, "128")))


def forest(name: str, text: str = "a") -> Forest:
    mark = Mark(text, LOOK, 0.1, (0.05, 0.15), (0.08, 0.12), text)
    return Forest(name, text, text, (MarkRow(text, (mark,)), MarkRow("two", (mark, mark))))


def hostile_page() -> str:
    parts = [
        Heading(HOSTILE),
        Paragraph(HOSTILE),
        Items([HOSTILE]),
        Code(HOSTILE),
        Emphasis(HOSTILE, [Paragraph(HOSTILE)]),
        Table([HOSTILE, "b"], [[HOSTILE, HOSTILE]], note=HOSTILE),
        Figure(lines("one", HOSTILE), HOSTILE),
        Figure(forest("two", HOSTILE), HOSTILE),
    ]
    return page(HOSTILE, HOSTILE, [Section(HOSTILE, parts)])


@pytest.mark.parametrize("width", [420, pytest.param(1280, marks=pytest.mark.slow)])
def test_a_page_is_drawn_offline_and_takes_no_text_for_markup(browser: Browser, width: int) -> None:
    seen = browser(hostile_page(), width)
    assert seen["errors"] == []
    assert seen["fetched"] == seen["refused"] == []
    assert seen["figures"] == seen["drawn"] == ["figure-one", "figure-two"]
    assert not seen["hacked"]
    # Twelve times as HTML; pictures fold it where it is too long for its place.
    assert seen["text"].count(HOSTILE) >= 9
    assert round(seen["smallest"], 1) >= 12
    assert seen["twice"] == []


def test_the_spy_sees_what_it_should(browser: Browser) -> None:
    """A page that breaks, fetches and draws nothing: the test above can fail."""
    broken = page("t", "l", [Section("s", [Figure(lines("one"))])])
    script = '<script>window.hacked = true; console.error("oh"); nowhere();</script>'
    worse = (
        '<img src="http://127.0.0.1:9/no.png"><p style="font-size: 9px">small</p>'
        '<div style="width: 3000px">wide</div><figure id="empty"></figure></main>'
    )
    open_to_all = broken.replace(POLICY, POLICY + "; script-src 'unsafe-inline'")
    seen = browser(open_to_all.replace("</main>", script + worse))
    assert any("oh" in error for error in seen["errors"])
    assert any("nowhere" in error for error in seen["errors"])
    assert seen["refused"] == ["http://127.0.0.1:9/no.png"]
    assert seen["hacked"] and seen["smallest"] == 9
    assert seen["outside"] == ["DIV"] and seen["width"] > 0
    assert seen["figures"] == ["figure-one", "empty"] and seen["drawn"] == ["figure-one"]


def test_no_script_runs_and_nothing_is_fetched(browser: Browser) -> None:
    whole = page("t", "l", [Section("s", [Figure(lines("one")), Figure(forest("two"))])])
    assert "<script" not in whole
    assert f'content="{POLICY}"' in whole
    assert POLICY.startswith("default-src 'none'") and "script-src" not in POLICY
    assert "<link" not in whole.replace('<link rel="icon" href="data:,">', "")
    assert " src=" not in whole
    assert not browser(whole.replace("</main>", "<script>window.hacked = true</script>"))["hacked"]


def test_a_page_is_the_same_each_time() -> None:
    assert hostile_page() == hostile_page()


@pytest.mark.parametrize(
    ("part", "html"),
    [
        (Paragraph("a < b"), "<p>a &lt; b</p>"),
        (Items(["a", "b"]), "<ul><li>a</li><li>b</li></ul>"),
        (Code("wordorder compare"), "<pre><code>wordorder compare</code></pre>"),
        (Emphasis("a", [Heading("b")]), '<div class="verdict"><p>a</p><h3>b</h3></div>'),
    ],
)
def test_parts(part: Any, html: str) -> None:
    assert f"<section><h2>s</h2>{html}</section>" in page("t", "l", [Section("s", [part])])
