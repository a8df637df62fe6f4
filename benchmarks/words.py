"""How long queries of a large file of word vectors take, the first time and afterwards.

    python benchmarks/words.py [--json]

A text file of random vectors is written to a temporary folder with its own cache. Timed are: the
first read of the file (parsing numbers into the cache), opening it again (memory-mapped), queries
of the open table, and whole commands, each in a new process: wall-clock time and, for comparisons
on a busy machine, CPU time. The operating system has the files in memory by then; on a cold disk
the first query also waits until the matrix has been read once.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from wordorder.errors import BadInput
from wordorder.words.cache import open_vectors
from wordorder.words.vectors import Vectors

SPELLINGS = 10_000  # different numbers in the file: formatting 40 million takes a minute


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="wordorder-") as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        path = Path(folder) / "vectors.txt"
        write(path, options.words, options.dimensions)
        first, _ = timed(lambda: open_vectors(path))
        again = [timed(lambda: open_vectors(path))[0] for _ in range(options.rounds)]
        vectors = open_vectors(path)
        result = {
            "words": options.words,
            "dimensions": options.dimensions,
            "file_megabytes": path.stat().st_size / 1e6,
            "seconds": {
                "first reading": first,
                "opening again": statistics.median(again),
                **questions(vectors, options.rounds),
                **command(path, options.rounds, "neighbours", "w17"),
                **command(path, options.rounds, "analogy", "--analogy", "w1", "w2", "w3"),
            },
        }
    print(json.dumps(result)) if options.json else show(result)


def write(path: Path, words: int, dimensions: int) -> None:
    """Write a text file of random vectors."""
    draw = np.random.default_rng(0)
    spelt = np.array([f"{number:.5f}" for number in draw.standard_normal(SPELLINGS)], object)
    with path.open("w", encoding="utf-8") as file:
        file.write(f"{words} {dimensions}\n")
        for number in range(words):
            row = spelt[draw.integers(0, SPELLINGS, dimensions)]
            file.write(f"w{number} {' '.join(row)}\n")


def questions(vectors: Vectors, rounds: int) -> dict[str, float]:
    """Median seconds of questions put to an open table."""

    def absent() -> None:
        try:
            vectors.row("wrod17")
        except BadInput:
            return
        raise SystemExit("a word that is not there was found")

    asked: dict[str, Callable[[], Any]] = {
        "neighbours": lambda: vectors.most_similar(["w17"]),
        "analogy, 3CosAdd": lambda: vectors.most_similar(["w1", "w3"], ["w2"]),
        "analogy, 3CosMul": lambda: vectors.most_similar(["w1", "w3"], ["w2"], method="mul"),
        "a word that is not there": absent,
    }
    return {
        name: statistics.median(timed(question)[0] for _ in range(rounds))
        for name, question in asked.items()
    }


def command(path: Path, rounds: int, name: str, *words: str) -> dict[str, float]:
    """Median seconds of a whole command in a new process, wall clock and CPU time."""
    typed = [sys.executable, "-m", "wordorder", "words", str(path), *words]
    wall, cpu = [], []
    for _ in range(rounds):
        before = _children_seconds()
        wall.append(timed(lambda: subprocess.run(typed, check=True, capture_output=True))[0])
        cpu.append(_children_seconds() - before)
    return {
        f"whole command, {name}": statistics.median(wall),
        f"  {name}, CPU time": statistics.median(cpu),
    }


def _children_seconds() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that some work took, and what it returned."""
    start = time.perf_counter()
    value = work()
    return time.perf_counter() - start, value


def show(result: dict[str, Any]) -> None:
    """Print the table for people."""
    print(
        f"{result['words']:,} words of {result['dimensions']} numbers, "
        f"{result['file_megabytes']:.0f} MB of text"
    )
    for name, seconds in result["seconds"].items():
        print(f"{name:<28}{seconds:>8.3f} s")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", type=int, default=400_000)
    parser.add_argument("--dimensions", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
