"""Build and Compare in a browser: a model from the page's form to the text that it writes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from wordorder.studio import detached, speed
from wordorder.studio.application import create_app
from wordorder.studio.opened import OpenRuns
from wordorder.studio.orders import TrainOrder
from wordorder.studio.rooms import build
from wordorder.studio.workshop import Workshop

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update"
).split()
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
WAIT = 60_000  # milliseconds, on a busy machine
TEXT = " ".join(f"the {a} sees a {b}." for a in ("cat", "dog", "bird") for b in range(80))
SIZES = {"width": 16, "layers": 1, "heads": 2, "trained_length": 64, "batch_size": 2}


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A studio without runs in a thread; what runs at the end is killed."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(speed, "_in_process", lambda *_: speed.StepTime(0.01, "made up"))
    demo = TrainOrder(name="demo", steps=4, position="learned", text=TEXT, **SIZES)
    monkeypatch.setattr(build, "DEMO", demo)
    runs = OpenRuns([])
    app = create_app(runs, workshop=Workshop(runs, tmp_path / "runs"))
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="error", ws="none", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listening.close()
    for record in (tmp_path / "runs").glob(".studio/*.json"):
        job = json.loads(record.read_text())
        if detached.is_running(job["pid"], job["began"]):
            with suppress(ProcessLookupError):
                os.killpg(job["pid"], signal.SIGKILL)


@pytest.fixture
def open_page(url: str) -> Iterator[Callable[..., Any]]:
    """Return a function that opens a room; at the end the console may have no complaint."""
    problems: list[str] = []
    playwright.expect.set_options(timeout=WAIT)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)

        def opened(where: str, width: int = 1280) -> Any:
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.set_default_timeout(WAIT)
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on(
                "console",
                lambda m: (
                    m.type in ("error", "warning")
                    and "status of 422" not in m.text
                    and problems.append(m.text)
                ),
            )
            page.on("request", lambda r: r.url.startswith((url, "blob:")) or problems.append(r.url))
            page.goto(f"{url}/{where}")
            page.wait_for_selector("main h1")
            return page

        yield opened
        browser.close()
    assert problems == []


def fits(page: Any) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@pytest.mark.slow
def test_a_model_from_the_page_to_its_text(open_page: Callable[..., Any], tmp_path: Path) -> None:
    sizes = "&".join(f"{name}={value}" for name, value in SIZES.items())
    page = open_page(f"#/build?preset=nano&position=learned&steps=150&{sizes}", width=360)
    playwright.expect(page.locator("dl.facts")).to_contain_text("tokens/s")
    assert fits(page)
    page.get_by_role("button", name="file", exact=True).click()
    (tmp_path / "wrong.txt").write_bytes(b"\xff\xfe\x00")
    page.get_by_label("A text file").set_input_files(tmp_path / "wrong.txt")
    playwright.expect(page.get_by_role("alert")).to_contain_text("not text in UTF-8")
    (tmp_path / "mine.txt").write_text(TEXT)
    page.get_by_label("A text file").set_input_files(tmp_path / "mine.txt")
    playwright.expect(page.locator("main")).to_contain_text("mine.txt: ")
    page.get_by_label("Name (of the folder)").fill("My <b>model</b>")
    playwright.expect(page.locator("pre").last).to_contain_text("runs/my-b-model-b")
    page.get_by_role("button", name="Start").click()
    status = page.get_by_role("status").first
    playwright.expect(status).to_contain_text("step")  # it has begun
    page.close()  # it trains on
    page = open_page("#/build?job=my-b-model-b")
    playwright.expect(page.get_by_role("status").first).to_contain_text("Finished after 150 steps")
    playwright.expect(page.get_by_role("button", name="my-b-model-b finished")).to_be_visible()
    playwright.expect(page.get_by_role("button", name="Stop", exact=True)).to_be_hidden()
    playwright.expect(page.locator("figure svg").first).to_contain_text("guessing")
    playwright.expect(page.locator("main")).to_contain_text("It is learned")
    page.get_by_label("Text to continue").fill("the cat")
    page.get_by_role("button", name="Generate").click()
    playwright.expect(page.locator(".written").nth(1).locator(".letter").nth(2)).to_be_visible()
    page.get_by_role("link", name="Inside", exact=True).first.click()
    playwright.expect(page.locator(".tokens button").first).to_be_visible()
    assert page.locator("b", has_text="model").count() == 0


@pytest.mark.slow
def test_the_demo_makes_every_room_work(open_page: Callable[..., Any]) -> None:
    page = open_page("#/inside", width=360)
    page.get_by_role("button", name="Train the demo model").click()
    playwright.expect(page.locator(".tokens button").first).to_be_visible()
    playwright.expect(page.locator("footer")).to_contain_text("demo (learned")
    page.get_by_role("link", name="Compare").click()
    playwright.expect(page.locator("pre").last).to_contain_text("none rotary alibi --seeds 3")
    page.get_by_role("button", name="rotary").click()
    page.get_by_role("button", name="alibi").click()
    playwright.expect(page.get_by_role("alert")).to_contain_text("Choose 2 to 5")
    assert fits(page)
