"""Whether averaged weights have a lower loss than the weights themselves, and what they cost.

    python benchmarks/averaged.py [--out evidence/averaged.jsonl] [--steps 400 1500] [--seeds 3]

Every seed is one run of nano on the built-in text (one thread, bfloat16, eager, plain attention)
that keeps several averages at once: they change no step. One line of the file has the losses of the
weights and of each average on the whole development and validation texts, after half of the steps,
where the learning rate is still at its peak, and at the end; and the seconds of a step and of an
update of one average. A run whose line is there is not done again. `--table` prints the paired
differences with their 95% intervals over seeds.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import torch

import wordorder as wo
from wordorder.allocator import keep_large_blocks
from wordorder.experiments.statistics import interval
from wordorder.model import PRESETS, make_model
from wordorder.training.average import AveragedWeights, holding
from wordorder.training.compute import Compute, use
from wordorder.training.config import with_vocabulary
from wordorder.training.loop import FINAL_VALIDATION_TOKENS
from wordorder.training.size import with_dropout
from wordorder.training.training import Training
from wordorder.training.training_data import read_training_data

VARIANTS: dict[str, dict[str, Any]] = {
    "ema 5%": {"kind": "ema", "exponent": 16.97},
    "ema 10%": {"kind": "ema"},
    "tail 10%": {"kind": "tail"},
    "tail 25%": {"kind": "tail", "tail": 0.25},
}


def main() -> None:
    options = _options()
    lines = options.out.read_text().splitlines() if options.out.exists() else []
    done = {(line["steps"], line["seed"]): line for line in map(json.loads, lines)}
    if options.table:
        print_table(list(done.values()))
        return
    options.out.parent.mkdir(parents=True, exist_ok=True)
    keep_large_blocks()
    torch.set_num_threads(1)
    for steps in options.steps:
        for seed in range(options.seeds):
            if (steps, seed) not in done:
                line = run(steps, seed)
                with options.out.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                print(json.dumps(line), flush=True)


def run(steps: int, seed: int) -> dict[str, Any]:
    """Train one model, and return its losses and those of its averages."""
    config = wo.TrainConfig(
        model=wo.ModelConfig(**PRESETS["nano"]), steps=steps, seed=seed, batch_size=8
    )
    data = read_training_data(config)
    config = with_vocabulary(config, data.tokenizer.vocabulary_size)
    config = with_dropout(config, data, steps)
    model = make_model(config.model)
    model.initialise(seed)
    compute = Compute("cpu", 1, "bfloat16", "plain", muon_dtype="bfloat16")
    use(model, compute)
    training = Training(config, compute, data, model, steps)
    averages = {n: AveragedWeights(weights=model.state_dict(), **v) for n, v in VARIANTS.items()}
    step_seconds = update_seconds = 0.0
    losses = {}
    while not training.is_over:
        start = time.perf_counter()
        training.step()
        stepped = time.perf_counter()
        for average in averages.values():
            average.update(training.done, steps)
        update_seconds += (time.perf_counter() - stepped) / len(averages)
        step_seconds += stepped - start
        if training.done in (steps // 2, steps):
            losses["end" if training.is_over else "half"] = losses_of(training, averages)
    return {
        "steps": steps,
        "seed": seed,
        "size": "nano",
        "dropout": config.model.dropout,
        "losses": losses,
        "step_seconds": step_seconds / steps,
        "update_seconds": update_seconds / steps,
        "content_hash": data.facts["content_hash"],
        "torch": torch.__version__,
        "processor": platform.processor() or platform.machine(),
        "wordorder": wo.__version__,
    }


def losses_of(
    training: Training, averages: dict[str, AveragedWeights]
) -> dict[str, dict[str, float]]:
    """Return the losses of the weights and of each average that has begun, by text."""
    tensors = {"weights": training.model.state_dict()}
    tensors |= {name: average.tensors() for name, average in averages.items() if average.count}
    losses = {}
    for name, weights in tensors.items():
        with holding(training.model, weights):
            losses[name] = {
                text: training.validate(FINAL_VALIDATION_TOKENS, final=final)["validation_loss"]
                for text, final in (("development", False), ("validation", True))
            }
    return losses


def print_table(lines: list[dict[str, Any]]) -> None:
    """Print, in Markdown, how much lower the validation loss of each average is."""
    print("| steps | measured | weights | " + " | ".join(VARIANTS) + " |")
    print("| --- " * (3 + len(VARIANTS)) + "|")
    for steps in sorted({line["steps"] for line in lines}):
        runs = [line["losses"] for line in lines if line["steps"] == steps]
        for when in ("half", "end"):
            at = [losses[when] for losses in runs]
            own = [each["weights"]["validation"] for each in at]
            cells = [f"{sum(own) / len(own):.3f}"]
            for name in VARIANTS:
                if name not in at[0]:
                    cells.append("")
                    continue
                differences = [e[name]["validation"] - o for e, o in zip(at, own, strict=True)]
                estimate = interval(differences)
                low, high = estimate.low, estimate.high
                ends = "" if low is None else f" ({low:+.3f} to {high:+.3f})"
                cells.append(f"{estimate.mean:+.3f}{ends}")
            print(f"| {steps:,} | {when} | {' | '.join(cells)} |")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("evidence/averaged.jsonl"))
    parser.add_argument("--steps", nargs="+", type=int, default=[400, 1500])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
