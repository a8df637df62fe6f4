"""Draw the pictures of docs/studio.md and the README: the rooms Order, Embedding and Build.

    python docs/draw_studio.py [--minutes 3]

Writes docs/studio.png, docs/studio-embedding.png and docs/studio-build.png; for the last it trains
a model in a temporary folder, through the page. Needs the extra wordorder[studio], playwright,
Pillow and chromium.
"""

from __future__ import annotations

import argparse
import io
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from wordorder.studio.application import create_app
from wordorder.studio.opened import OpenRuns
from wordorder.studio.workshop import Workshop

WIDTH, HEIGHT = 1200, 1240
MENU = "body > header"
MODEL = "position=learned&width=64&layers=2&heads=4&trained_length=64&name=my-model"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--minutes", type=float, default=3.0, help="to train the model of Build")
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as folder, a_studio(Path(folder)) as url, a_page() as page:
        page.goto(f"{url}/#/order?causal=0&show=none,sinusoidal,rotary")
        page.locator(".card .badge.yes").nth(1).wait_for()
        save(page, "studio")
        page.goto(f"{url}/#/embedding?position=rotary&at=20")
        page.locator("figure svg").nth(2).wait_for()
        save(page, "studio-embedding", below=".notice")
        page.goto(f"{url}/#/build?{MODEL}&minutes={minutes}")
        page.get_by_role("button", name="Start", exact=True).click()
        words = page.get_by_role("status").first
        words = page.get_by_role("status").first
        expect(words).to_contain_text("Finished", timeout=(minutes + 4) * 60_000)
        expect(page.locator("main .waiting")).to_have_count(0)
        save(page, "studio-build")


@contextmanager
def a_studio(folder: Path) -> Iterator[str]:
    """Serve a studio without runs from a thread, and yield its URL."""
    listening = socket.create_server(("127.0.0.1", 0))
    runs = OpenRuns([])
    app = create_app(runs, workshop=Workshop(runs, folder / "runs"))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def a_page() -> Iterator[Any]:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--headless", "--no-sandbox"]
        )
        yield browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        browser.close()


def save(page: Any, name: str, below: str = MENU) -> None:
    """Save the page in few colours, from an element on; the menu stays above it."""
    page.wait_for_timeout(500)
    top = page.locator(below).bounding_box()["y"] - page.locator(MENU).bounding_box()["height"]
    page.evaluate(f"scrollTo(0, {top - 14})")
    page.wait_for_timeout(500)
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    # Octrees keep rare colours, such as a ring in a button.
    image = image.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    image.save(Path(__file__).parent / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
