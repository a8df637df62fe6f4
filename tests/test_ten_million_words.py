"""benchmarks/ten_million_words.py: what is to be run next, from the lines that are there."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import ten_million_words

    return ten_million_words


def trials_of(losses: dict[float, float]) -> list[dict[str, Any]]:
    """Return the lines of both seeds of each factor."""
    return [
        {"position": "alibi", "rate": rate, "seed": seed, "share": 0.25, "development_loss": loss}
        for rate, loss in losses.items()
        for seed in (1_000_000, 1_000_001)
    ]


def left(benchmark: ModuleType, folder: Path, **lines: Any) -> list[tuple[float, int, float]]:
    """Return the share, seed and rate of each remaining run of alibi, given the files' lines."""
    size = lines.pop("size", "small")
    for name, of_file in lines.items():
        text = "".join(json.dumps(line) + "\n" for line in of_file)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    options = argparse.Namespace(out=folder, size=size, seeds=3)
    cells = benchmark.cells_left("alibi", options)
    return [(cell["share"], cell["seed"], cell["rate"]) for cell in cells]


def test_trials_come_first(benchmark: ModuleType, tmp_path: Path) -> None:
    whole = [(0.25, seed, rate) for rate in (0.5, 1, 2) for seed in (1_000_000, 1_000_001)]
    assert left(benchmark, tmp_path) == whole
    assert left(benchmark, tmp_path, rates=trials_of({0.5: 4.0})) == whole[2:]
    one = trials_of({0.5: 4.0, 1.0: 3.0, 2.0: 5.0})[:-1]
    assert left(benchmark, tmp_path, rates=one) == whole[-1:]


def test_a_best_rate_at_the_edge_is_tried_further(benchmark: ModuleType, tmp_path: Path) -> None:
    rates = trials_of({0.5: 5.0, 1.0: 4.0, 2.0: 3.0})
    seeds = (1_000_000, 1_000_001)
    assert left(benchmark, tmp_path, rates=rates) == [(0.25, seed, 4.0) for seed in seeds]
    worse = [*rates, *trials_of({4.0: 3.5})]
    assert left(benchmark, tmp_path, rates=worse) == [(1.0, seed, 2.0) for seed in range(3)]


def test_the_runs_take_the_best_rate_and_are_done_once(
    benchmark: ModuleType, tmp_path: Path
) -> None:
    rates = trials_of({0.5: 5.0, 1.0: 3.0, 2.0: 4.0})
    done = [{"position": "alibi", "rate": 1.0, "seed": 1, "share": 1.0}]
    expected = [(1.0, 0, 1.0), (1.0, 2, 1.0)]
    assert left(benchmark, tmp_path, rates=rates, runs=done) == expected
    # A larger model has no trials, and a file of its own.
    assert len(left(benchmark, tmp_path, size="larger")) == 3
    assert left(benchmark, tmp_path, size="larger", larger=done) == expected
