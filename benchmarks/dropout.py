"""The dropout that is best for a model, a text and a number of passes over it.

    python benchmarks/dropout.py --data tinyshakespeare.txt --characters 250000 --widths 64 128
        --passes 2 4 8 --dropouts 0 0.1 0.2 [--tokenizer characters] [--out evidence/dropout.jsonl]

The last tenth of the file is for validation, the first `--characters` of the rest for training, so
that texts of several lengths have the same validation text. Every combination is one run, computed
in the same way (one thread, eager), and one line of the output file. A run whose line exists is not
repeated. The last weights count, and nothing is chosen on held-out text.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from run_figures import figures_of

import wordorder as wo
from wordorder.allocator import keep_large_blocks
from wordorder.training.compute import Compute, fingerprinted

KEY = ("text", "tokenizer", "characters", "width", "layers", "passes", "dropout", "seed")
NEVER = 1 << 40


def main() -> None:
    options = _options()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    keep_large_blocks()
    torch.set_num_threads(1)
    lines = options.out.read_text().splitlines() if options.out.exists() else []
    done = {_key(json.loads(line)) for line in lines}
    text = options.data.read_text(encoding="utf-8")
    grid = itertools.product(
        range(options.seeds),
        options.passes,
        options.characters,
        options.widths,
        options.layers,
        options.dropouts,
    )
    for seed, passes, characters, width, layers, dropout in grid:
        cell = {
            "text": options.data.name,
            "tokenizer": options.tokenizer,
            "characters": characters,
            "width": width,
            "layers": layers,
            "passes": passes,
            "dropout": dropout,
            "seed": seed,
        }
        if _key(cell) in done:
            continue
        line = {**cell, **run(cell, text, options.dtype)}
        with options.out.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps({**cell, "loss": round(line["loss"], 4)}), flush=True)


def run(cell: dict[str, Any], text: str, dtype: str) -> dict[str, Any]:
    """Train one cell of the grid in a folder that is thrown away, and return its figures."""
    held_out = len(text) // 10
    machine = fingerprinted(Compute("cpu", 1, dtype, "fused", muon_dtype=dtype))
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        training, validation = Path(folder, "training.txt"), Path(folder, "validation.txt")
        training.write_text(text[: len(text) - held_out][: cell["characters"]], encoding="utf-8")
        validation.write_text(text[-held_out:], encoding="utf-8")
        config = wo.TrainConfig(
            model=wo.ModelConfig(
                width=cell["width"],
                layers=cell["layers"],
                heads=4,
                trained_length=256,
                dropout=cell["dropout"],
            ),
            data=(str(training),),
            validation_data=(str(validation),),
            tokenizer=cell["tokenizer"],
            development_fraction=0.0,
            epochs=cell["passes"],
            seed=cell["seed"],
            out=f"{folder}/run",
            keep="last",
            evaluate_every=NEVER,
            checkpoint_every=NEVER,
        )
        trained = wo.train(config, compute=machine)
        figures = figures_of(trained)
    # Keep the number of passes that was asked for: it is part of the key of a line.
    del figures["passes"]
    return {
        **figures,
        "parameters": trained.config["plan"]["parameters"]["total"],
        "steps": trained.config["plan"]["steps"],
        "seconds": round(time.perf_counter() - start, 1),
        "dtype": dtype,
        "instructions": machine.instructions,
    }


def _key(cell: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(cell[name] for name in KEY)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="a text of one file")
    parser.add_argument("--out", type=Path, default=Path("evidence/dropout.jsonl"))
    parser.add_argument("--tokenizer", default="characters")
    parser.add_argument("--characters", nargs="+", type=int, default=[250_000])
    parser.add_argument("--widths", nargs="+", type=int, default=[64])
    parser.add_argument("--layers", nargs="+", type=int, default=[4])
    parser.add_argument("--passes", nargs="+", type=float, default=[2, 4, 8])
    parser.add_argument("--dropouts", nargs="+", type=float, default=[0.0, 0.1, 0.2, 0.3])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    return parser.parse_args()


if __name__ == "__main__":
    main()
