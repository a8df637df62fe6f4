"""What the defaults of the model and of training gain, for each positional embedding.

    python benchmarks/defaults.py [--out evidence/defaults.jsonl]
        [--variants default unscaled] [--sizes nano tiny] [--steps 400]
        [--positions none sinusoidal learned rotary alibi] [--seeds 3] [--trained-length 256]

Every combination is one run on the built-in text, computed in the same way (one thread, bfloat16,
eager, plain attention), and one line of the file: its settings, its loss on the whole validation
text in nats per token and bits per byte, its training loss, and the text and machine. A run whose
line exists is not repeated. The last weights count, so the development text chooses nothing.

`VARIANTS` names what is changed against the default; add a row to try another.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from run_figures import figures_of

import wordorder as wo
from wordorder.allocator import keep_large_blocks
from wordorder.model import PRESETS
from wordorder.training.compute import Compute

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "unscaled": {"embedding_scale": 1.0},  # the default before words were multiplied
    "untied": {"tied_embeddings": False},
    "embedding-norm": {"embedding_norm": True},
    "half-rate": {"learning_rate": 0.005},
    "double-rate": {"learning_rate": 0.02},
    "whole-embedding-rate": {"embedding_rate": 1.0},
    "half-matrix-rate": {"matrix_learning_rate": 0.01},
    "double-matrix-rate": {"matrix_learning_rate": 0.04},
    "dropout-0": {"dropout": 0.0},
    "dropout-0.1": {"dropout": 0.1},
    "dropout-0.2": {"dropout": 0.2},
    "dropout-0.3": {"dropout": 0.3},
}
POSITIONS = ["none", "sinusoidal", "learned", "rotary", "alibi"]
NEVER = 1 << 40


def main() -> None:
    options = _options()
    keep_large_blocks()
    torch.set_num_threads(1)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    lines = options.out.read_text().splitlines() if options.out.exists() else []
    done = {_key(json.loads(line)) for line in lines}
    grid = itertools.product(
        range(options.seeds), options.sizes, options.steps, options.variants, options.positions
    )
    for seed, size, steps, variant, position in grid:
        cell = {
            "variant": variant,
            "size": size,
            "trained_length": options.trained_length or PRESETS[size]["trained_length"],
            "batch_size": options.batch_size,
            "steps": steps,
            "position": position,
            "seed": seed,
        }
        if _key(cell) in done:
            continue
        line = {**cell, **run(cell)}
        with options.out.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps({**cell, "loss": round(line["loss"], 4)}), flush=True)


def run(cell: dict[str, Any]) -> dict[str, Any]:
    """Train one cell of the grid in a folder that is thrown away, and return its figures."""
    changes = VARIANTS[cell["variant"]]
    of_model = {f for f in wo.ModelConfig.__dataclass_fields__ if f in changes}
    model = wo.ModelConfig(
        **{**PRESETS[cell["size"]], "trained_length": cell["trained_length"]},
        position=cell["position"],
        **{name: changes[name] for name in of_model},
    )
    machine = Compute("cpu", 1, "bfloat16", "plain", muon_dtype="bfloat16")
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        config = wo.TrainConfig(
            model=model,
            steps=cell["steps"],
            batch_size=cell["batch_size"],
            seed=cell["seed"],
            out=f"{folder}/run",
            keep="last",
            evaluate_every=NEVER,
            checkpoint_every=NEVER,
            **{name: value for name, value in changes.items() if name not in of_model},
        )
        figures = figures_of(wo.train(config, compute=machine))
    return {
        **figures,
        "seconds": round(time.perf_counter() - start, 1),
        "processor": platform.processor() or platform.machine(),
    }


def _key(cell: dict[str, Any]) -> tuple[Any, ...]:
    length = cell.get("trained_length", PRESETS[cell["size"]]["trained_length"])
    names = ("variant", "size", "batch_size", "steps", "position", "seed")
    return length, *(cell[name] for name in names)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("evidence/defaults.jsonl"))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["default", "unscaled"])
    parser.add_argument("--sizes", nargs="+", choices=PRESETS, default=["nano"])
    parser.add_argument("--steps", nargs="+", type=int, default=[400])
    parser.add_argument("--trained-length", type=int, default=0, help="0: that of the size")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--positions", nargs="+", default=POSITIONS)
    parser.add_argument("--seeds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
