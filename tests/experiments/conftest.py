"""A made-up comparison, a small one to run in this process, and a browser to open a page in."""

from __future__ import annotations

import html
import json
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from in_this_process import InThisProcess

from wordorder.experiments import calibration, runner
from wordorder.experiments.compare import CompareConfig, compare
from wordorder.experiments.comparison import Comparison
from wordorder.model import ModelConfig
from wordorder.training.config import TrainConfig

POSITIONS = ("none", "sinusoidal", "learned", "rotary", "alibi", "t5")
TRAINED_LENGTH = 64
FACTORS = (1, 2, 4, 8, 16)

# Against rotary: loss, and its change at 2, 4, 8 and 16 times the trained length.
LOSS = {"none": 0.09, "sinusoidal": 0.06, "learned": 0.05, "rotary": 0, "alibi": -0.04, "t5": 0.004}
CHANGES = {
    "none": (0.12, 0.55, 1.1, 1.6),
    "sinusoidal": (0.9, 1.9, 2.4, 2.7),
    "learned": None,
    "rotary": (0.05, 0.4, 0.9, 1.3),
    "alibi": (-0.012, -0.014, -0.015, -0.012),
    "t5": (-0.05, -0.06, -0.01, 0.02),
}
ADDED = {"learned": 8192, "t5": 768}
STEP = {"none": 0.97, "sinusoidal": 0.98, "learned": 1.0, "rotary": 1.0, "alibi": 0.99, "t5": 1.18}
ORDER = {
    "swapped": ("every two neighbours trade places", 0.1),
    "shuffled-near": ("tokens move within stretches of 8", 0.3),
    "shuffled": ("the whole context is in random order", 0.5),
    "reversed": ("the whole context is read backwards", 0.55),
}


def comparison(seeds: int = 3, positions: tuple[str, ...] = POSITIONS) -> dict[str, Any]:
    """Return what comparison.json would hold."""
    costs = {
        p: {
            "parameters": 832_000 + ADDED.get(p, 0),
            "added": ADDED.get(p, 0),
            "step_seconds": 0.041 * STEP.get(p, 1.1),
        }
        for p in positions
    }
    return {
        "wordorder": "0.1.0",
        "command": f"wordorder compare --positions {' '.join(positions)} --seeds {seeds}",
        "positions": list(positions),
        "baseline": "rotary",
        "seeds": seeds,
        "lengths": list(FACTORS),
        "steps": 1000,
        "tokens": 2_048_000,
        "trained_length": TRAINED_LENGTH,
        "model": {"layers": 4, "width": 128, "heads": 4},
        "training": {"seed": 0, "learning_rate": 0.01, "matrix_learning_rate": 0.02},
        "machine": {
            "device": "cpu",
            "threads": 1,
            "dtype": "bfloat16",
            "kernel": "plain",
            "compile": False,
            "torch": "2.9.0",
        },
        "processes": 2,
        "data": {"name": "python-docs", "training_tokens": 351_121, "validation_tokens": 45_396},
        "costs": costs,
        "leaks": ["The causal mask: a token sees only those before it."],
        "notes": ["a context of 2,048 tokens is left out: none of the documents reaches it"],
        "held_equal": ["Text and tokens: 2,048,000 tokens, in the same order for one seed."],
        "not_equal": ["Parameters: learned adds 8,192, 1.0% of all."],
        "tuned": None,
    }


def record(position: str, seed: int) -> dict[str, Any]:
    """Return the line of one run; a seed moves all embeddings alike, and each a little."""
    drawn = random.Random(f"{position} {seed}")
    shared = random.Random(seed).gauss(0, 0.015)
    loss = 3.52 + shared + LOSS.get(position, 0.01) + drawn.gauss(0, 0.004)
    changes = (0.0, *(CHANGES.get(position) or (None,) * 4))
    cannot = {"cannot": "position 64 is past the longest this learned table holds (63)"}

    def lengths(slope: float) -> list[dict[str, Any]]:
        return [
            {"factor": float(factor), "length": factor * TRAINED_LENGTH}
            | (
                cannot
                if change is None
                else {"loss": loss + change * slope * (1 + drawn.gauss(0, 0.03))}
            )
            for factor, change in zip(FACTORS, changes, strict=True)
        ]

    order = [
        {
            "change": how,
            "meaning": meaning,
            "plain": loss,
            "loss": loss + rise + drawn.gauss(0, 0.02),
        }
        for how, (meaning, rise) in ORDER.items()
    ]
    order.append({"change": "shifted", "meaning": "all positions are 64 more", "plain": loss})
    order[-1] |= cannot if position == "learned" else {"loss": loss + 1e-6}
    return {
        "position": position,
        "seed": seed,
        "run": f"runs/{position}-seed{seed}",
        "validation_loss": loss,
        "bits_per_byte": loss / 2.65,
        "validation_tokens": 45_396,
        "curve": [[t * 204_800, loss + 2.2 / t**1.3] for t in range(1, 11)],
        "same_targets": {"targets": 4096, "documents": 13, "lengths": lengths(1.0)},
        "whole_windows": [{**at, "windows": 700} for at in lengths(0.8)],
        "order": order,
        "peak_bytes": (612 + 12 * (position == "t5") + seed) << 20,
    }


@pytest.fixture
def made_up() -> tuple[Comparison, list[dict[str, Any]]]:
    """Six embeddings and three seeds; learned cannot go far, and one run of t5 failed."""
    records = [record(p, seed) for seed in range(3) for p in POSITIONS]
    records[-1] = {"position": "t5", "seed": 2, "failed": "the loss is not a number at step 412"}
    return Comparison.from_json(comparison()), records


# Runs before anything else in a page, and writes down at last what it has seen of it.
SPY = """<script>
const seen = {errors: [], refused: []};
const error = console.error;
console.error = (...said) => { seen.errors.push(said.join(' ')); error(...said); };
addEventListener('error', e => seen.errors.push(e.message || `not loaded: ${e.target.src}`), true);
addEventListener('unhandledrejection', e => seen.errors.push(String(e.reason)));
addEventListener('securitypolicyviolation', e => seen.refused.push(e.blockedURI));
addEventListener('load', () => setTimeout(() => {
  const figures = [...document.querySelectorAll('figure')];
  const drawn = svg => svg.getBoundingClientRect().height > 50;
  seen.fetched = performance.getEntriesByType('resource').map(entry => entry.name);
  seen.figures = figures.map(figure => figure.id);
  // Of the two pictures of a figure one is shown.
  seen.drawn = figures.filter(f => [...f.querySelectorAll('svg')].filter(drawn).length === 1)
    .map(figure => figure.id);
  const right = document.documentElement.clientWidth;
  // What reaches out of the page, and labels that reach out of their picture.
  seen.outside = [...document.querySelectorAll('main *')]
    .filter(e => !e.closest('svg') && e.getBoundingClientRect().right > right + 1)
    .map(e => e.tagName);
  for (const text of document.querySelectorAll('svg text')) {
    const own = text.getBoundingClientRect(), all = text.closest('svg').getBoundingClientRect();
    if (own.width && (own.left < all.left - 1 || own.right > all.right + 1))
      seen.outside.push(text.textContent);
  }
  const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
  seen.twice = ids.filter((id, n) => ids.indexOf(id) !== n);
  seen.text = document.body.innerText;
  seen.hacked = window.hacked === true;
  seen.smallest = Math.min(...[...document.querySelectorAll('main *')]
    .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) &&
      e.getClientRects().length)
    .map(e => parseFloat(getComputedStyle(e).fontSize) *
      (e.closest('svg') ? Math.hypot(e.getScreenCTM().a, e.getScreenCTM().b) : 1)));
  seen.width = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const note = document.createElement('pre');
  note.id = 'seen';
  note.textContent = JSON.stringify(seen);
  document.body.append(note);
}, 500));
</script>"""
FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --virtual-time-budget=20000 --dump-dom"
).split()


@pytest.fixture
def browser(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Open a page in headless Chromium, so many pixels wide, and return what the spy saw."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        pytest.skip(f"none of {', '.join(names)} is on PATH: apt-get install chromium")

    def opened(page: str, width: int = 1280) -> dict[str, Any]:
        assert "<head>" in page
        path = tmp_path / "spied.html"
        path.write_text(page.replace("<head>", f"<head>{SPY}", 1), encoding="utf-8")
        size = f"--window-size={width},900"
        command = [found, *FLAGS, size, f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        note = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
        assert note, f"the page did not come to its end: {done.stderr[-2000:]}"
        seen: dict[str, Any] = json.loads(html.unescape(note[1]))
        return seen

    return opened


SMALL_MODEL = ModelConfig(
    width=32, layers=1, heads=2, trained_length=8, dropout=0.1, position="none"
)
COMPARED = ("none", "learned", "alibi")


@pytest.fixture
def train(tmp_path: Path) -> TrainConfig:
    """Four steps on documents that are long enough for four trained lengths."""
    return training_on(tmp_path / "texts")


def training_on(folder: Path) -> TrainConfig:
    """Return a configuration that trains on documents written to a folder."""
    folder.mkdir()
    words = ("cat", "dog", "sees", "the", "a", "finds", "bird", "one", "or", "two")
    for n in range(24):
        text = f"{n} " + " ".join(words[(n * k + k * k) % len(words)] for k in range(80))
        (folder / f"{n}.txt").write_text(text, encoding="utf-8")
    return TrainConfig(
        model=SMALL_MODEL,
        data=(str(folder),),
        tokenizer="bytes",
        steps=4,
        batch_size=4,
        dtype="float32",
        kernel="plain",
        threads=1,
        validation_fraction=0.3,
    )


@pytest.fixture
def config(train: TrainConfig, tmp_path: Path) -> CompareConfig:
    return CompareConfig(
        train=train, positions=COMPARED, seeds=2, lengths=(1, 2, 4), out=str(tmp_path / "out")
    )


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> InThisProcess:
    """Run all jobs in this process."""
    launcher = InThisProcess()
    monkeypatch.setattr(runner, "ProcessLauncher", lambda: launcher)
    return launcher


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> CompareConfig:
    """A comparison of two seeds that is done."""
    folder = tmp_path_factory.mktemp("finished")
    train = training_on(folder / "texts")
    config = CompareConfig(
        train=train, positions=COMPARED, seeds=2, lengths=(1, 2, 4), out=str(folder / "out")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "ProcessLauncher", InThisProcess)
        patch.setattr(calibration, "SECONDS_TIMED", 0.0)
        compare(config)
    return config


@pytest.fixture
def done(finished: CompareConfig, tmp_path: Path) -> CompareConfig:
    """A copy of the comparison that is done, for a test to change."""
    shutil.copytree(finished.out, tmp_path / "done")
    return replace(finished, out=str(tmp_path / "done"))


@pytest.fixture
def jobs_here(here: InThisProcess, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run jobs in this process, and note which functions had how many."""
    monkeypatch.setattr(calibration, "SECONDS_TIMED", 0.0)
    return here.functions
