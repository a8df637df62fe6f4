"""Draw the picture of docs/studio.md: the room Order on models with random weights.

    python docs/draw_studio.py

Writes docs/studio.png. Needs the extra wordorder[studio], playwright, Pillow and chromium.
"""

from __future__ import annotations

import io
import shutil
import socket
import threading
from pathlib import Path

import uvicorn
from PIL import Image
from playwright.sync_api import sync_playwright

from wordorder.studio.application import create_app
from wordorder.studio.opened import OpenRuns

SHOWN = "#/order?causal=0&show=none,sinusoidal,rotary"
WIDTH, HEIGHT = 1160, 1120


def main() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    app = create_app(OpenRuns([]))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--headless", "--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(f"http://127.0.0.1:{listening.getsockname()[1]}/{SHOWN}")
        page.locator(".card .badge.yes").nth(1).wait_for()
        page.wait_for_timeout(500)
        picture = page.screenshot()
        browser.close()
    server.should_exit = True
    thread.join()
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    # Octrees keep rare colours, such as a ring in a button.
    image = image.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    image.save(Path(__file__).parent / "studio.png", optimize=True)


if __name__ == "__main__":
    main()
