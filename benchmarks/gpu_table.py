"""The table and the JSON of what the parts of benchmarks/gpu.sh measured.

    python benchmarks/gpu_table.py FOLDER [--device cuda] --out gpu.json

FOLDER has for each part its exit status, seconds and limit (N.status), what it printed (N.out), and
for the tests a report (1.xml). A part that failed has a line that says so.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

PARTS = {
    1: "tests marked gpu",
    2: "biases over causal flash attention",
    3: "training 124 M parameters",
    4: "seconds to nanoGPT's loss",
    5: "decoding",
}
FLASH_GOAL, PEAK_GOAL = 0.7, 0.5


def main() -> int:
    options = _options()
    parts = [read(options.folder, number) for number in PARTS]
    parts = [part for part in parts if part is not None]
    lines = [line for part in parts for line in lines_of(part)]
    print("\n".join(lines))
    record = {"device": options.device, **machine(options.device), "parts": parts}
    options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"\n{options.out}")
    return int(any(part["status"] for part in parts))


def read(folder: Path, number: int) -> dict[str, Any] | None:
    """Return what a part left; None if it did not run."""
    status = folder / f"{number}.status"
    if not status.exists():
        return None
    code, seconds, limit = map(int, status.read_text().split())
    part: dict[str, Any] = {"part": number, "name": PARTS[number], "status": code}
    part |= {"seconds": seconds, "limit": limit, "result": None}
    try:
        part["result"] = tests(folder / "1.xml") if number == 1 else printed(folder, number)
    except (OSError, ValueError, IndexError, ElementTree.ParseError) as error:
        part["unreadable"] = f"{type(error).__name__}: {error}"
    log = folder / f"{number}.err"
    if code and log.exists():
        part["log"] = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    return part


def printed(folder: Path, number: int) -> dict[str, Any]:
    """Return the JSON that a benchmark printed as its last line."""
    lines = (folder / f"{number}.out").read_text(encoding="utf-8").strip().splitlines()
    return dict(json.loads(lines[-1]))


def tests(path: Path) -> dict[str, int]:
    """Return how many tests passed, failed and were skipped."""
    suite = ElementTree.parse(path).getroot().find("testsuite")
    if suite is None:
        raise ValueError(f"{path} has no test suite")
    ran, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
    failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    return {"passed": ran - failed - skipped, "failed": failed, "skipped": skipped}


def lines_of(part: dict[str, Any]) -> list[str]:
    """Return the lines of the table for one part."""
    head = f"{part['part']}  {part['name']}, {part['seconds']} s"
    if part["status"]:
        why = "over its limit" if part["status"] in (124, 137) else f"exit code {part['status']}"
        head += f": FAILED ({why} of {part['limit']} s)" if "limit" in why else f": FAILED ({why})"
    if part["result"] is None:
        return [head, f"     no result: {part.get('unreadable', '')}"]
    show: Callable[[dict[str, Any]], list[str]] = {
        1: tests_in_words,
        2: biases_in_words,
        3: training_in_words,
        4: time_in_words,
        5: decoding_in_words,
    }[part["part"]]
    return [head, *(f"     {line}" for line in show(part["result"]))]


def tests_in_words(result: dict[str, Any]) -> list[str]:
    return [", ".join(f"{count} {what}" for what, count in result.items())]


def biases_in_words(result: dict[str, Any]) -> list[str]:
    lines = []
    for row in result["layers"]:
        name = f"{row['position']:<16}"
        if "error" in row:
            lines.append(f"{name}{row['error']}")
            continue
        speed = 1 / row["against_none"]
        goal = "" if speed >= FLASH_GOAL else f", below {FLASH_GOAL}"
        lines.append(
            f"{name}{speed:.2f} of flash{goal}  ({row['kernel']}, {row['context']} tokens)"
        )
    return lines


def training_in_words(result: dict[str, Any]) -> list[str]:
    lines = [f"{result['processor']}, peak {result['peak_tflops']} TFLOP/s"]
    for row in result["rows"]:
        share = "share of the peak unknown"
        if row["of_peak"]:
            goal = "" if row["of_peak"] >= PEAK_GOAL else f", below {PEAK_GOAL}"
            share = f"{row['of_peak']:.2f} of the peak{goal}"
        rate = f"{row['tokens_per_second']:>12,.0f} tokens/s"
        lines.append(f"{row['position']:<16}{rate}  {share}  ({row['parameters']:,} parameters)")
    return lines


def time_in_words(result: dict[str, Any]) -> list[str]:
    reached = "reaches" if result["reached"] else "does NOT reach"
    lines = [
        f"wordorder       {result['seconds']:.1f} s, loss {run['validation_loss']:.4f}: "
        f"{reached} {result['target']}"
        for run in result["runs"]
    ]
    if peer := result["peer"]:
        loss = f"its lowest loss {peer['validation_loss']:.4f}, step {peer['steps']}"
        lines.append(f"nanoGPT         {peer['seconds']:.1f} s to {loss}")
    return lines


def decoding_in_words(result: dict[str, Any]) -> list[str]:
    lines = [
        f"{name:<20}{rate:>8,.0f} tokens/s" for name, rate in result["tokens_per_second"].items()
    ]
    for name, ratio in result["over_static"].items():
        lines.append(f"{name}: {ratio:.2f} x transformers with a static cache")
    return lines if result["same_tokens"] else [*lines, "they do not write the same tokens"]


def machine(device: str) -> dict[str, str]:
    """Return the names and versions that figures depend on."""
    import torch

    name = "cpu"
    if device == "cuda" and torch.cuda.is_available():
        name = torch.cuda.get_device_name()
    return {"processor": name, "torch": torch.__version__, "cuda": str(torch.version.cuda)}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
