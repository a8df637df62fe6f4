"""The page in a browser: every room drawn and used; no error, no request to another machine."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from mechanisms import each

from wordorder.studio.application import create_app
from wordorder.studio.opened import OpenRuns

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
# Without them Chromium looks for updates and experiments, which a machine without network refuses.
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --disable-extensions "
    "--disable-software-rasterizer --renderer-process-limit=1"
).split()
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
WAIT = 20_000  # milliseconds, on a busy machine
ROOMS = "order inside embedding attention length words build compare lesson".split()
# Every control has a label.
NAMED = """[...document.querySelectorAll('input, select, textarea, button')].every(
    (e) => e.labels?.length || e.ariaLabel || e.textContent.trim()
)"""

Open = Callable[..., Any]


def complaints(message: Any) -> list[str]:
    """Return an error or warning of the console.

    Not the browser's note on a 422: the studio's answer says what is wrong with a question.
    """
    bad = message.type in ("error", "warning") and "status of 422" not in message.text
    return [message.text] if bad else []


@pytest.fixture(scope="module")
def served(runs: OpenRuns) -> Iterator[Callable[[OpenRuns], str]]:
    """Return a function that serves runs from a thread, and returns the URL."""
    servers = []
    playwright.expect.set_options(timeout=WAIT)

    def serve(shown: OpenRuns) -> str:
        listening = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(create_app(shown), log_level="error", ws="none"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        servers.append((server, thread, listening))
        return f"http://127.0.0.1:{listening.getsockname()[1]}"

    yield serve
    for server, thread, listening in servers:
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def url(served: Callable[[OpenRuns], str], runs: OpenRuns) -> str:
    return served(runs)


@pytest.fixture
def open_page(browser: Any, url: str) -> Iterator[Open]:
    """Return a function that opens a room; at the end nothing may have gone wrong."""
    problems: list[str] = []
    contexts = []

    def opened(where: str = "", base: str = url, width: int = 1280, scheme: str = "light") -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, accept_downloads=True
        )
        contexts.append(context)
        context.set_default_timeout(WAIT)
        page = context.new_page()
        page.on("console", lambda message: problems.extend(complaints(message)))
        page.on("pageerror", lambda error: problems.append(str(error)))
        own = (base, "blob:", "data:")
        page.on("request", lambda r: r.url.startswith(own) or problems.append(r.url))
        page.goto(f"{base}/{where}")
        page.wait_for_selector("main h1")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert problems == []


def test_order(open_page: Open) -> None:
    page = open_page()
    playwright.expect(page.locator(".card .badge.yes")).to_have_count(10)  # 4 runs, 6 embeddings
    page.get_by_role("button", name="both ways (bidirectional)").click()
    none = page.locator(".card", has=page.get_by_role("heading", name="none", exact=True))
    playwright.expect(none).to_contain_text("sees no order")
    page.get_by_role("button", name="alibi").click()  # off
    playwright.expect(page.locator(".card")).to_have_count(9)
    page.get_by_label("A sentence").fill("one")
    playwright.expect(none).to_contain_text("fewer than two words")
    page.get_by_label("A sentence").fill("dogs <b>bite</b> men")
    playwright.expect(none).to_contain_text("sees no order")
    assert "causal=0" in page.url and "bite" in page.url
    page.reload()  # the state is in the URL
    playwright.expect(page.locator(".card")).to_have_count(9)
    assert page.locator("b", has_text="bite").count() == 0  # text, not HTML
    page.get_by_label("The same words in another order").fill("men bite cats")
    playwright.expect(none.locator(".badge")).to_have_text("different tokens")
    playwright.expect(page.locator(".card .badge.yes")).to_have_count(0)


def test_inside(open_page: Open) -> None:
    page = open_page("#/inside?run=rotary&text=some%20words")
    token = page.locator(".tokens button").nth(2)
    token.click()
    playwright.expect(page.locator(".tokens button[aria-pressed=true]")).to_contain_text("id ")
    page.get_by_label("Layer").select_option("1")
    playwright.expect(page.locator("section.step").nth(2)).to_contain_text("layer 2, head 1")
    assert "token=2" in page.url and "layer=1" in page.url
    page.go_back()
    playwright.expect(page.get_by_label("Layer")).to_have_value("0")
    page.get_by_label("Top k", exact=True).fill("3")
    playwright.expect(page.locator("main")).to_contain_text("3 of 257 tokens can be drawn")
    page.get_by_role("button", name="Write", exact=True).click()
    written = page.locator(".written button")
    written.nth(3).wait_for()
    playwright.expect(page.get_by_role("button", name="Write", exact=True)).to_be_visible()
    written.nth(2).click()  # what the model attended to there
    playwright.expect(page.get_by_label("A sentence")).not_to_have_value("some words")


def test_embedding(open_page: Open) -> None:
    page = open_page("#/embedding")
    playwright.expect(page.locator("figure")).to_have_count(4)
    page.get_by_label("Embedding", exact=True).select_option("t5")
    playwright.expect(page.locator("figure")).to_have_count(2)
    playwright.expect(page.get_by_role("alert")).to_have_count(0)
    playwright.expect(page.locator("details.command pre")).to_contain_text("t5")
    page.get_by_label("buckets", exact=True).fill("10")
    page.wait_for_url("**buckets**")
    page.get_by_label("buckets, as a number").fill("1")
    playwright.expect(page.get_by_role("alert")).to_contain_text("must be at least 2")
    page.goto(page.url.split("#")[0] + "#/embedding?position=rotary:short_factors=[1]")
    typed = page.get_by_label("long factors", exact=True)
    typed.press_sequentially("[1,2.5]", delay=150)  # as a hand does: no list before its end
    page.wait_for_url("**short_factors**long_factors**2.5**")
    typed.fill("")
    page.wait_for_url(lambda url: "long_factors" not in url)
    page.get_by_label("Embedding", exact=True).select_option("learned")
    page.get_by_label("Sizes and trained model of").select_option("learned")
    playwright.expect(page.locator("figure")).to_have_count(3)
    page.locator("canvas.map").first.focus()
    page.keyboard.press("ArrowRight")
    playwright.expect(page.locator(".readout").first).to_contain_text("position 0, dimension 1")


def test_attention(open_page: Open, tmp_path: Path) -> None:
    page = open_page("#/attention?run=rotary&other=masked")
    playwright.expect(page.locator(".mini button")).to_have_count(16)
    page.get_by_role("button", name="Layer 2, head 3").first.click()
    playwright.expect(page.locator("main")).to_contain_text("Layer 2, head 3")
    page.get_by_label("A text").fill("many words " * 45)
    playwright.expect(page.locator("main")).to_contain_text("Each cell is the mean of 2 × 2")
    for button, kind in (("PNG", b"\x89PNG"), ("JSON", b"{")):
        with page.expect_download() as download:
            page.get_by_role("button", name=button).nth(2).click()
        path = tmp_path / button
        download.value.save_as(path)
        assert path.read_bytes().startswith(kind)
    assert json.loads((tmp_path / "JSON").read_text())["layers"] == 2


def test_length(open_page: Open) -> None:
    page = open_page("#/length?factor=2")
    points = page.locator(".pick")
    playwright.expect(page.locator(".progress")).to_be_hidden()
    # rotary, learned and gru at 16, 32, 64, 128 tokens; yarn at the last two; learned ends at 64.
    playwright.expect(points).to_have_count(3 * 4 - 1 + 2)
    playwright.expect(page.locator("main")).to_contain_text("learned has no loss at 128 tokens")
    page.get_by_role("button", name="ntk", exact=True).click()
    playwright.expect(points).to_have_count(3 * 4 - 1 + 4)
    page.get_by_role("button", name="rotary with ntk, 128 tokens").press("Enter")
    reader = page.locator(".reader")
    playwright.expect(reader).to_contain_text("rotary with ntk reads with 128 tokens")
    playwright.expect(reader.locator(".token")).to_have_count(32)
    page.get_by_role("button", name="Later text").click()
    playwright.expect(reader).to_contain_text("Text 2 of")
    assert "methods=ntk" in page.url and "window=1" in page.url
    page.get_by_role("button", name="learned", exact=True).click()  # off
    playwright.expect(points).to_have_count(2 * 4 + 4)


@pytest.mark.slow
def test_words(open_page: Open) -> None:
    page = open_page("#/words?run=rotary&turn=0&word=A&words=A B C D")
    bars = page.locator("figure", has=page.get_by_role("heading", name="Nearest words"))
    playwright.expect(bars.locator("rect")).to_have_count(20)
    for label, word in (("word", "A"), ("minus", "B"), ("plus", "C"), ("expected", "D")):
        page.get_by_label(label, exact=True).fill(word)
    playwright.expect(page.locator("main")).to_contain_text("A − B + C lands")
    page.get_by_label("A word", exact=True).fill("nonesuch")
    playwright.expect(page.get_by_role("alert")).to_contain_text("no word 'nonesuch'")
    cloud = page.locator(".cloud svg text").first
    before = cloud.get_attribute("x")
    page.locator(".cloud").press("ArrowRight")
    playwright.expect(cloud).not_to_have_attribute("x", before)
    page.get_by_role("button", name="Turn").click()
    playwright.expect(page.get_by_role("button", name="Stop turning")).to_be_visible()


def test_the_lesson_leads_into_the_rooms_and_back(open_page: Open) -> None:
    page = open_page("#/lesson")
    for step in range(1, 10):
        heading = page.get_by_role("heading", name=f"{step}. ")
        playwright.expect(heading).to_be_visible()
        playwright.expect(page.locator(".verdict-card").first).to_be_visible()
        page.locator(".do a").click()
        bar = page.get_by_role("complementary", name="Lesson")
        playwright.expect(bar).to_contain_text(f"step {step} of 9")
        page.locator("figure :is(svg, canvas), .card pre").first.wait_for()
        back = "← Back to the lesson" if step == 9 else "Next step →"
        bar.get_by_role("link", name=back).click()
    page.get_by_text("What does rotary do?").click()
    playwright.expect(page.locator(".quiz[open]")).to_contain_text("turns each pair")
    playwright.expect(page.locator(".verdict-card")).to_have_count(11)


FITS = "document.documentElement.scrollWidth <= innerWidth"


def fits(page: Any) -> bool:
    return bool(page.evaluate(FITS))


@pytest.mark.parametrize(
    ("scheme", "width"),
    [
        ("light", 360),
        pytest.param("light", 1280, marks=pytest.mark.slow),
        pytest.param("dark", 1280, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("room", each(ROOMS, ["order", "length", "build"]))
def test_axe_has_nothing_serious_to_say(
    open_page: Open, room: str, scheme: str, width: int
) -> None:
    """Nor is anything wider than the screen, a phone's by default, or without a label."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing")
    page = open_page(f"#/{room}", scheme=scheme, width=width)
    page.locator("figure :is(svg, canvas, blockquote), .card pre").first.wait_for()
    unfinished = "main :is(.stale, .waiting, .progress:not([hidden]))"
    playwright.expect(page.locator(unfinished)).to_have_count(0)
    violations = axe.Axe().run(page).response["violations"]
    serious = [each for each in violations if each["impact"] in ("serious", "critical")]
    assert [(each["id"], [n["html"][:120] for n in each["nodes"]]) for each in serious] == []
    assert fits(page)
    assert page.evaluate(NAMED)


def test_without_a_run(open_page: Open, served: Callable[[OpenRuns], str]) -> None:
    base = served(OpenRuns([]))
    page = open_page(base=base)
    playwright.expect(page.locator(".card .badge.yes")).to_have_count(6)
    for room in ("Inside", "Attention", "Length", "Words"):
        page.get_by_role("link", name=room).click()
        playwright.expect(page.locator("main")).to_contain_text("wordorder train --preset nano")
    page.get_by_role("link", name="Embedding").click()
    page.locator("figure svg").first.wait_for()
    page.get_by_role("link", name="Lesson").click()
    page.get_by_role("button", name="Word + position").first.click()
    page.get_by_role("link", name="Train one").click()  # this step needs learned positions
    playwright.expect(page.locator("pre").last).to_contain_text("--position learned")
    bar = page.get_by_role("complementary", name="Lesson")
    playwright.expect(bar).to_contain_text("Train one: choose Start")


def test_a_room_that_cannot_be_opened_says_so(browser: Any, url: str) -> None:
    page = browser.new_page()
    page.goto(url)
    page.locator("figure svg").first.wait_for(timeout=WAIT)
    page.route("**/rooms/words.js", lambda route: route.abort())
    page.get_by_role("link", name="Words", exact=True).click()
    playwright.expect(page.get_by_role("alert")).to_contain_text("the studio does not answer")
    page.close()


def test_runs_with_different_tokenizers_are_compared_by_bytes(
    open_page: Open, served: Callable[[OpenRuns], str], folders: dict[str, Path], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(folders["rotary"], other)
    spelling = json.loads((other / "tokenizer.json").read_text())
    spelling["normalizer"] = {"type": "NFC"}  # another tokenizer with the same tokens
    (other / "tokenizer.json").write_text(json.dumps(spelling))
    base = served(OpenRuns([folders["rotary"], other]))
    page = open_page("#/length?factor=2&methods=", base=base)
    playwright.expect(page.locator("main")).to_contain_text("different tokenizers")
    playwright.expect(page.locator("figure svg")).to_contain_text("bits per byte")
    page.get_by_role("button", name="other", exact=True).click()
    playwright.expect(page.locator("figure svg")).to_contain_text("nats per token")


@pytest.mark.slow
@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1440, "dark")])
def test_it_fits_the_screen(open_page: Open, room: str, width: int, scheme: str) -> None:
    page = open_page(f"#/{room}", width=width, scheme=scheme)
    page.locator("figure :is(svg, canvas, blockquote), .card pre").first.wait_for()
    assert fits(page)
    assert page.evaluate(NAMED)


@pytest.mark.parametrize("room", each(ROOMS, ["build"]))
def test_it_fits_a_window_that_is_made_narrow(open_page: Open, room: str) -> None:
    """A chart drawn for a wide window does not keep the page wide."""
    page = open_page(f"#/{room}")
    page.locator("figure :is(svg, canvas, blockquote), .card pre").first.wait_for()
    page.set_viewport_size({"width": 360, "height": 800})
    page.wait_for_function(FITS)


def test_the_keyboard_and_the_theme(open_page: Open) -> None:
    page = open_page("#/embedding")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the room"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    playwright.expect(page.get_by_role("heading", name="Order", exact=True)).to_be_visible()
    theme = page.get_by_role("button", name="Theme")
    theme.focus()
    page.keyboard.press("Enter")  # light
    page.keyboard.press("Enter")  # dark
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, dark.removeprefix("rgb(").removesuffix(")").split(","))) < 64
