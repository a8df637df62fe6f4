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
    Section,
    Table,
    Text,
    page,
)
from wordorder.experiments.panels import Forest, Line, Lines, Look, Mark, Row

Browser = Callable[[str], dict[str, Any]]
HOSTILE = "</script><script>window.hacked = true</script><b>\"bold\" & 'co'</b>"
LOOK = Look("#0072B2", "square")


def lines(name: str, text: str = "a") -> Lines:
    line = Line(text, LOOK, ((64.0, 3.0), (128.0, 3.1)), (("one",), (text,)), note=text)
    return Lines(name, text, text, text, (line,), ticks=((64.0, text), (128.0, "128")))


def forest(name: str, text: str = "a") -> Forest:
    mark = Mark(text, LOOK, 0.1, (0.05, 0.15), (0.08, 0.12), (text,), text)
    return Forest(name, text, text, (Row(text, (mark,)), Row("two", (mark, mark))))


def hostile_page() -> str:
    parts = [
        Heading(HOSTILE),
        Text(HOSTILE),
        Items([HOSTILE]),
        Code(HOSTILE),
        Emphasis(HOSTILE, [Text(HOSTILE)]),
        Table([HOSTILE, "b"], [[HOSTILE, HOSTILE]], caption=HOSTILE),
        Figure(lines("one", HOSTILE), HOSTILE),
        Figure(forest("two", HOSTILE), HOSTILE),
    ]
    return page(HOSTILE, HOSTILE, [Section(HOSTILE, parts)])


def test_a_page_is_drawn_offline_and_takes_no_text_for_markup(browser: Browser) -> None:
    seen = browser(hostile_page())
    assert seen["errors"] == []
    assert seen["fetched"] == seen["refused"] == []
    assert seen["figures"] == seen["drawn"] == ["figure-one", "figure-two"]
    assert not seen["hacked"]
    assert seen["text"].count(HOSTILE) >= 14  # the figures' axes and legends show it too
    assert seen["smallest"] >= 12


def test_the_spy_sees_what_it_should(browser: Browser) -> None:
    """A page that breaks, fetches and draws nothing: the test above can fail."""
    broken = page("t", "l", [Section("s", [Figure(lines("one"))])])
    worse = (
        '<script>window.hacked = true; console.error("oh"); nowhere();</script>'
        '<img src="http://127.0.0.1:9/no.png"><p style="font-size: 9px">small</p>'
        '<div class="plotly-graph-div" id="empty"></div></main>'
    )
    seen = browser(broken.replace("</main>", worse))
    assert any("oh" in error for error in seen["errors"])
    assert any("nowhere" in error for error in seen["errors"])
    assert seen["refused"] == ["http://127.0.0.1:9/no.png"]
    assert seen["hacked"] and seen["smallest"] == 9
    assert seen["figures"] == ["figure-one", "empty"] and seen["drawn"] == ["figure-one"]


def test_plotly_is_inside_once_and_nothing_may_be_fetched() -> None:
    whole = page("t", "l", [Section("s", [Figure(lines("one")), Figure(forest("two"))])])
    assert whole.count("* plotly.js v") == 1
    assert f'content="{POLICY}"' in whole
    assert POLICY.startswith("default-src 'none'")
    assert "<link" not in whole.replace('<link rel="icon" href="data:,">', "")
    assert " src=" not in whole.partition("</script>")[2]


def test_a_page_is_the_same_each_time() -> None:
    assert hostile_page() == hostile_page()


@pytest.mark.parametrize(
    ("part", "html"),
    [
        (Text("a < b"), "<p>a &lt; b</p>"),
        (Items(["a", "b"]), "<ul><li>a</li><li>b</li></ul>"),
        (Code("wordorder compare"), "<pre><code>wordorder compare</code></pre>"),
        (
            Table(["a", "b"], [["1", "2"]], left=frozenset({1})),
            '<div class="wide"><table><thead><tr><th scope="col">a</th><th scope="col" '
            'class="text">b</th></tr></thead><tbody><tr><th scope="row">1</th><td class="text">2'
            "</td></tr></tbody></table></div>",
        ),
    ],
)
def test_parts(part: Any, html: str) -> None:
    assert part.html() == html
