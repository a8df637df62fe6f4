"""Seconds until a character-level model reaches the final loss of nanoGPT's recipe.

    python benchmarks/time_to_loss.py --data tinyshakespeare.txt [--peer nanoGPT] [--json]
    python benchmarks/time_to_loss.py --data tinyshakespeare.txt --recipe large
    python benchmarks/time_to_loss.py --data tinyshakespeare.txt --recipe large --seeds 1 \
        --tokens 2M --set width=128 layers=4 dropout=0     # a variant, for as many tokens

The first 90% of the file are for training, the last 10% for validation, all of them. `small`
(context 64, at most 0.81 M parameters) aims at 1.8857, where nanoGPT's CPU recipe ends, `large`
(context 256, at most 11 M) at 1.4697, which nanoGPT reaches on a GPU.

A run is a call of `wordorder.train`. Its time goes from the call to the end of the last step:
reading, tokenizing, the benchmark of the machine and compiling count; importing torch and the
validation after the last step do not. The peer's time is its mean iteration, without those that
evaluate or compile, times its iterations until its lowest validation loss. The length of each
recipe is fixed, in steps or minutes, so no run is stopped at a favourable moment; one that ends
above the loss is reported as not reaching it. Variants are compared at the same number of tokens,
which is the same on any machine.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from pathlib import Path
from typing import Any

import torch

import wordorder as wo
from wordorder.allocator import keep_large_blocks
from wordorder.training.config import by_name
from wordorder.training.display import Display
from wordorder.training.metrics import read
from wordorder.training.plan import Plan

NEVER = 1 << 40  # steps between validations and samples: none but the last

RECIPES: dict[str, dict[str, Any]] = {
    # Two layers see more text in a second than four and lose little in so few steps; a table of
    # its own for the output, and a norm on the embedding, let the first steps go further.
    "small": {
        "target": 1.8857,
        "model": {
            "width": 128,
            "layers": 2,
            "heads": 4,
            "feed_forward_width": 256,
            "trained_length": 64,
            "tied_embeddings": False,
            "embedding_norm": True,
            "dropout": 0.0,  # it reads the text a fifth of once
        },
        "train": {
            "batch_size": 24,
            "steps": 130,
            "learning_rate": 0.02,
            "embedding_rate": 1.0,  # a short run of 65 characters
            "matrix_learning_rate": 0.06,
            "momentum": 0.85,  # 0.95 looks back over a seventh of the run: 1.89 for 1.875
        },
    },
    # Four passes over the text. Six layers of 256 with .15 of dropout ended at 1.48: in so few
    # passes dropout costs more than it saves, and weight decay does not: 1.442 without it. Layers
    # of width 128 end at 1.449, in half of the time, and gain nothing from more steps.
    "large": {
        "target": 1.4697,
        "model": {
            "width": 256,
            "layers": 4,
            "heads": 4,
            "trained_length": 256,
            "dropout": 0.0,
        },
        "train": {"batch_size": 8, "steps": 2048, "weight_decay": 0.2, "decay": 0.7},
    },
}


def main() -> None:
    options = _options()
    keep_large_blocks()
    recipe = RECIPES[options.recipe]
    rate = product_gflops()
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    runs = [train_once(options, recipe, seed) for seed in seeds]
    peer = None if options.peer is None else run_peer(options)
    result = {
        "recipe": options.recipe,
        "set": options.set,
        "target": recipe["target"],
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "float32_product_gflops": [rate, product_gflops()],
        "runs": runs,
        "seconds": statistics.mean(run["seconds"] for run in runs),
        "reached": all(run["validation_loss"] <= recipe["target"] for run in runs),
        "peer": peer,
    }
    if peer is not None:
        result["share_of_peer"] = result["seconds"] / peer["seconds"]
    print(json.dumps(result)) if options.json else show(result)


class Watch(Display):
    """Notes the plan, and when the last step was done."""

    def __init__(self) -> None:
        self.last = 0.0
        self.planned: Plan | None = None

    def plan(self, plan: Plan, done: int) -> None:
        self.planned = plan

    def step(self, record: dict[str, Any], seconds_left: float) -> None:
        self.last = time.perf_counter()


def train_once(options: argparse.Namespace, recipe: dict[str, Any], seed: int) -> dict[str, Any]:
    """Train one seed in a folder that is thrown away, and return what it reached and when."""
    model, given = dict(recipe["model"]), dict(recipe["train"])
    for length in ("time", "tokens"):
        if (value := getattr(options, length)) is not None:
            given = {n: v for n, v in given.items() if n not in ("steps", "time", "tokens")}
            given[length] = value
    of_model, of_run = by_name(dict(each.split("=", 1) for each in options.set))
    model, given = model | of_model, given | of_run
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        config = wo.TrainConfig(
            model=wo.ModelConfig(**model),
            data=(str(options.data),),
            tokenizer="characters",
            development_fraction=0.0,  # the peer trains on all that it does not validate on
            evaluate_every=NEVER,
            seed=seed,
            device=options.device,
            out=f"{folder}/run",
            **given,
        )
        start = time.perf_counter()
        run = wo.train(config, show=watch)
        records = read(run.folder / "metrics.jsonl")
    final = next(record for record in records if "final" in record)
    steps = [record for record in records if "loss" in record]
    loss, seconds = final["validation_loss"], watch.last - start
    print(f"seed {seed}: {loss:.4f} after {seconds:.1f} s", file=sys.stderr)
    return {
        "seed": seed,
        "seconds": seconds,
        "validation_loss": loss,
        "validation_tokens": final["validation_tokens"],
        "training_loss": statistics.mean(record["loss"] for record in steps[-20:]),
        "steps": steps[-1]["step"],
        "tokens": steps[-1]["tokens"],
        "parameters": watch.planned.parameters["total"],
        "machine": watch.planned.compute.to_dict(),
    }


def product_gflops() -> float:
    """Return the GFLOP/s of a float32 product of two matrices of 1,024."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    return 2 * 1024**3 / min(timeit.repeat(lambda: a @ b, number=1, repeat=10)) / 1e9


# nanoGPT's README, the recipe for a computer without a GPU.
PEER_OPTIONS = (
    "--device=cpu --compile=False --eval_iters=20 --log_interval=1 --block_size=64 "
    "--batch_size=12 --n_layer=4 --n_head=4 --n_embd=128 --max_iters=2000 "
    "--lr_decay_iters=2000 --dropout=0.0"
).split()
# Its recipe for a GPU, up to about where its validation loss is lowest (1.4697 in its README).
PEER_OPTIONS_GPU = "--device=cuda --eval_iters=40 --log_interval=1 --max_iters=2500".split()


def run_peer(options: argparse.Namespace) -> dict[str, Any]:
    """Run nanoGPT's recipe in a copy of its folder; return its lowest loss and its seconds."""
    given = PEER_OPTIONS_GPU if options.device == "cuda" else PEER_OPTIONS
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(options.peer, Path(folder) / "peer")
        shutil.copy(options.data, copy / "data" / "shakespeare_char" / "input.txt")
        prepare = [sys.executable, "data/shakespeare_char/prepare.py"]
        subprocess.run(prepare, cwd=copy, check=True, stdout=subprocess.DEVNULL)
        command = [sys.executable, "train.py", "config/train_shakespeare_char.py", *given]
        command += options.peer_options.split()
        done = subprocess.run(command, cwd=copy, check=True, capture_output=True, text=True)
    times = [float(t) for t in re.findall(r"iter \d+: loss \S+, time (\S+)ms", done.stdout)]
    losses = re.findall(r"step (\d+): .* val loss (\S+)", done.stdout)
    last, loss = min(((int(n), float(loss)) for n, loss in losses), key=lambda each: each[1])
    usual = statistics.median(times)  # an iteration that evaluates takes ten times as long
    steps = [t for t in times if t < 5 * usual]
    return {
        "seconds": statistics.mean(steps) * last / 1e3,
        "validation_loss": loss,
        "steps": last,
    }


def show(result: dict[str, Any]) -> None:
    """Print the table for people."""
    before, after = result["float32_product_gflops"]
    print(
        f"recipe {result['recipe']}, {result['threads']} threads, torch {result['torch']}, "
        f"float32 product {before:.0f} GFLOP/s before, {after:.0f} after\n"
    )
    print(f"{'':<10}{'seconds':>8}{'loss':>9}{'steps':>8}{'parameters':>12}")
    for run in result["runs"]:
        machine = run["machine"]
        how = f"{machine['dtype']} {machine['kernel']}{' compiled' if machine['compile'] else ''}"
        print(
            f"seed {run['seed']:<5}{run['seconds']:>8.1f}{run['validation_loss']:>9.4f}"
            f"{run['steps']:>8,}{run['parameters']:>12,}  {how}"
        )
    if (peer := result["peer"]) is not None:
        print(
            f"{'nanoGPT':<10}{peer['seconds']:>8.1f}{peer['validation_loss']:>9.4f}{peer['steps']:>8,}"
        )
    reached = "all reach" if result["reached"] else "not all reach"
    print(f"\n{reached} {result['target']}; {result['seconds']:.1f} s in the mean", end="")
    print(f", 1/{1 / result['share_of_peer']:.1f} of the peer's" if peer is not None else "")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a text of one file")
    parser.add_argument("--peer", type=Path, help="nanoGPT's folder, run beside")
    parser.add_argument("--recipe", choices=tuple(RECIPES), default="small")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--peer-options", default="", help="more options of nanoGPT's train.py")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    parser.add_argument("--time", help="train this long, such as 5m, instead of as the recipe says")
    parser.add_argument("--tokens", help="train on so many, such as 2M, instead")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="settings in place of the recipe's, such as dropout=0 batch_size=8",
    )
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
