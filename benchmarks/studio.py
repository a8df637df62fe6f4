"""How long the studio takes to start, to paint, and to answer what each room asks first.

    python benchmarks/studio.py runs/nano runs/tiny [--rounds 20] [--json]

The server is a process of its own; requests are sent one after another over one connection, after
one that loads the model. CPU time is the server's own, which other processes on a busy machine
lengthen less than the wall-clock time. With playwright and chromium installed it also times the
first contentful paint of a new browser, as the browser's own performance API has it, and each room
from the click in the menu to its drawn picture.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

TEXT = "The function returns a list of the names in the module"
# Clicks a room in the menu, and waits frame by frame until it is drawn.
OPENED = """async (room) => {
  const begun = performance.now(), frame = () => new Promise(requestAnimationFrame);
  const anchor = document.querySelector(`nav a[data-room="${room}"]`);
  anchor.click();
  const title = () => document.querySelector("main h1")?.textContent;
  const drawn = () => document.querySelector("main figure :is(svg, canvas), main .card pre, .do");
  await frame();
  while (title() !== anchor.textContent || document.querySelector("main .stale") || !drawn())
    await frame();
  return performance.now() - begun;
}"""
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def main() -> None:
    options = _options()
    with (
        tempfile.TemporaryDirectory(prefix="wordorder-") as folder,
        serving(options, folder) as (
            process,
            port,
            start,
        ),
    ):
        answers = [
            {"run": name, **timed(process, port, path, question, options.rounds)}
            for name in [Path(run).name for run in options.runs]
            for path, question in questions(name)
        ]
        page = in_a_browser(port, options.rounds)
    result = {"start": start, "page": page, "answers": answers}
    print(json.dumps(result)) if options.json else show(result)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("runs", nargs="+", help="run folders")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


@contextmanager
def serving(
    options: argparse.Namespace, folder: str
) -> Iterator[tuple[subprocess.Popen[str], int, dict[str, float | None]]]:
    """Start a studio; yield its process, its port and what the start took."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    words = [sys.executable, "-m", "wordorder", "studio", *options.runs, "--no-browser"]
    begun = time.perf_counter()
    with subprocess.Popen(
        [*words, "--port", str(port), "--folder", folder], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seconds = time.perf_counter() - begun
        try:
            yield process, port, {"seconds": seconds, "cpu_seconds": cpu_seconds(process)}
        finally:
            process.terminate()


def cpu_seconds(process: subprocess.Popen[str]) -> float | None:
    """Return the CPU time of a process so far; None where /proc has none."""
    with suppress(OSError):
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return None


def questions(run: str) -> list[tuple[str, dict[str, Any] | None]]:
    """Return what each room asks first; None: a GET."""
    words = ["one", "two", "is", "are", "the"]
    return [
        ("/api/studio", None),
        ("/api/order/compare", {"run": run, "text": TEXT}),
        ("/api/inside/trace", {"run": run, "text": TEXT}),
        ("/api/inside/predict", {"run": run, "text": TEXT}),
        ("/api/embedding/picture", {"position": "rotary", "run": run}),
        ("/api/attention/maps", {"run": run, "text": 3 * TEXT}),
        ("/api/length/methods", {"run": run}),
        ("/api/words/neighbours", {"run": run, "word": "is"}),
        ("/api/words/projection", {"run": run, "words": words}),
        ("/api/build/estimate", {"preset": "tiny"}),
        ("/api/compare/command", {"positions": ["none", "rotary"]}),
        ("/api/lesson/verdicts", None),
    ]


def timed(
    process: subprocess.Popen[str], port: int, path: str, question: dict[str, Any] | None, n: int
) -> dict[str, Any]:
    """Return the median and the 95th percentile of the answers in milliseconds, and their CPU."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    body = None if question is None else json.dumps(question)
    headers = {} if body is None else {"content-type": "application/json"}

    def ask() -> float:
        begun = time.perf_counter()
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {content[:200]!r}")
        return 1000 * (time.perf_counter() - begun)

    first = ask()
    before = cpu_seconds(process)
    times = sorted(ask() for _ in range(n))
    after = cpu_seconds(process)
    connection.close()
    cpu = None if before is None or after is None else 1000 * (after - before) / n
    last = times[min(n - 1, round(0.95 * (n - 1)))]
    median = statistics.median(times)
    return {"path": path, "first_ms": first, "median_ms": median, "p95_ms": last, "cpu_ms": cpu}


def in_a_browser(port: int, rounds: int) -> dict[str, Any] | None:
    """Return the first paint and the time to open each room; None without a browser."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        return None
    paints: list[float] = []
    rooms: dict[str, float] = {}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=path, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        for _ in range(min(rounds, 7)):
            context = browser.new_context()  # an empty cache
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{port}/")
            page.locator("main figure svg").first.wait_for()
            paints.append(page.evaluate(PAINT))
            if len(paints) == 1:  # twice each, of which the first loads modules
                names = page.locator("nav a").evaluate_all("all => all.map(a => a.dataset.room)")
                for name in [*names, *names]:
                    rooms[name] = page.evaluate(OPENED, name)
            context.close()
        browser.close()
    return {"first_paint_ms": statistics.median(paints), "all_ms": paints, "rooms_ms": rooms}


def show(result: dict[str, Any]) -> None:
    start, page = result["start"], result["page"]
    cpu = "" if start["cpu_seconds"] is None else f" ({start['cpu_seconds']:.1f} s of CPU time)"
    print(f"start    {start['seconds']:.1f} s{cpu}")
    if page is None:
        print("page     not timed: playwright or chromium is missing")
    else:
        every = ", ".join(f"{each:.0f}" for each in page["all_ms"])
        print(f"paint    {page['first_paint_ms']:.0f} ms first contentful (all: {every})")
        rooms = ", ".join(f"{name} {ms:.0f}" for name, ms in page["rooms_ms"].items())
        print(f"rooms    from click to picture, ms: {rooms}")
    print(f"\n{'run':16} {'request':26} {'first':>7} {'median':>7} {'p95':>7} {'CPU':>7}  ms")
    for each in result["answers"]:
        numbers = [each[key] for key in ("first_ms", "median_ms", "p95_ms", "cpu_ms")]
        columns = " ".join("      -" if x is None else f"{x:7.1f}" for x in numbers)
        print(f"{each['run']:16} {each['path'][5:]:26} {columns}")


if __name__ == "__main__":
    main()
