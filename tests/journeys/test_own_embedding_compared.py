"""`wordorder compare` with an embedding of one's own, from a file in the folder one stands in."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

MINE = """
import torch
from torch import nn
from wordorder.positions import Position


class X(Position):
    '''Scores fall with the root of the distance, at a trained rate in each head.'''

    door = "score"

    def __init__(self, shape, /, *, steep=0.5):
        super().__init__(shape)
        self.steep = steep
        self.rate = nn.Parameter(torch.empty(shape.heads))
        self.reset_parameters()

    def reset_parameters(self, generator=None):
        nn.init.constant_(self.rate, self.steep)

    def distance_bias(self, distance):
        rate = self.rate.float().view(-1, *[1] * distance.dim())
        return -rate * distance.abs().float().sqrt()
"""
TINY = (
    "--width 16 --layers 1 --heads 2 --trained-length 8 --batch-size 2 --tokenizer bytes "
    "--dtype float32 --kernel plain --threads 1 --processes 1 --lengths 1 2 --steps 2"
).split()
SPEC = "mine.X:steep=0.25"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the class and some text."""
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    (tmp_path / "texts").mkdir()
    for n in range(24):
        words = " ".join(f"{(n * k + k * k) % 97} sees {k}" for k in range(40))
        (tmp_path / f"texts/{n}.txt").write_text(words, encoding="utf-8")
    return tmp_path


def compare(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wordorder", "compare", *TINY, "--data", "texts"]
    command += ["--positions", "none", SPEC, "--out", "c", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_it_is_compared_with_two_seeds_and_named_in_what_was_found(folder: Path) -> None:
    """In every process that trains, in the verdict and in the table."""
    done = compare(folder, "--seeds", "2")
    assert done.returncode == 0, done.stderr
    assert "4 runs of 2 steps" in done.stderr and "4/4" in done.stderr
    assert SPEC in done.stdout and "Traceback" not in done.stderr
    with (folder / "c/table.csv").open(encoding="utf-8", newline="") as lines:
        rows = {row["position"]: row for row in csv.DictReader(lines)}
    assert set(rows) == {"none", SPEC}
    assert rows[SPEC]["seeds"] == "2" and rows[SPEC]["failed"] == "0"
    assert rows[SPEC]["parameters_added"] == "2"  # a rate in each head
    assert rows[SPEC]["loss_nats"] != rows["none"]["loss_nats"]
