"""Whether running jobs side by side pays, and what evaluating long contexts costs.

    python benchmarks/compare.py --seconds 30

1. The same runs of `--preset nano`: one after another on all cores, and as `wordorder compare`
   schedules them, including its benchmark of the machine. One run of the comparison is trained
   again alone with the same number of threads, and must end with the same weights.
2. The loss of the same targets with contexts of 1,024 to 16,384 tokens: the peak memory of the
   process, and the seconds per token at each length relative to 1,024, beside the cost of
   attention alone, which grows with the number of keys.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from own_process import in_a_process

from wordorder.evaluation.context import context_losses
from wordorder.experiments.compare import BATCH_SIZE, TRAINED_LENGTH, CompareConfig, compare
from wordorder.model import ModelConfig, make_model
from wordorder.model.config import PRESETS
from wordorder.text.store import TokenStore
from wordorder.training.compute import Compute
from wordorder.training.config import TrainConfig
from wordorder.training.run import Run
from wordorder.training.start import train

POSITIONS = ("none", "sinusoidal", "learned", "rotary", "alibi", "t5")
LENGTHS = (1024, 2048, 4096, 8192, 16384)
DOCUMENTS, DOCUMENT_TOKENS = 4, 20_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="python-docs")
    parser.add_argument("--positions", nargs="+", default=POSITIONS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=30.0, help="of one run alone")
    parser.add_argument("--only", choices=("runs", "contexts"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result: dict[str, Any] = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    if options.only != "contexts":
        result["runs"] = side_by_side(options)
    if options.only != "runs":
        result["contexts"] = contexts()
    print(json.dumps(result) if options.json else readable(result))
    return 0


def side_by_side(options: argparse.Namespace) -> dict[str, Any]:
    """Return the seconds of the same runs in both ways, and whether one is what it is alone."""
    model = ModelConfig(**{**PRESETS["nano"], "trained_length": TRAINED_LENGTH})
    with tempfile.TemporaryDirectory() as folder:
        config = CompareConfig(
            train=TrainConfig(
                model=model,
                data=(options.data,),
                batch_size=BATCH_SIZE,
                time=f"{options.seconds:g}s",
            ),
            positions=tuple(options.positions),
            seeds=options.seeds,
            out=f"{folder}/chosen",
        )
        start = time.perf_counter()
        compare(config)
        chosen = time.perf_counter() - start
        record = json.loads(Path(folder, "chosen/comparison.json").read_text())
        # As many steps; what is measured of the machine before is taken off.
        one = replace(config, out=f"{folder}/one", processes=1, seeds=0)
        one = replace(one, train=replace(config.train, time=None, steps=record["steps"]))
        compare(one)
        start = time.perf_counter()
        compare(replace(one, seeds=options.seeds))
        after = time.perf_counter() - start
        return {
            "count": len(config.positions) * options.seeds,
            "steps": record["steps"],
            "processes": record["processes"],
            "threads_each": record["machine"]["threads"],
            "seconds": chosen,
            "seconds_one_after_another": after,
            "same_weights": same_alone(Path(folder), record),
        }


def same_alone(folder: Path, record: dict[str, Any]) -> bool:
    """Return whether a run of the comparison, trained alone, ends with the same weights."""
    there = Run.load(next((folder / "chosen" / "runs").iterdir()))
    config = TrainConfig.from_dict(
        {**there.config["training"], "out": str(folder / "alone")}, there.model_config
    )
    alone = train(config, compute=Compute(**record["machine"]))
    ours, theirs = there.model.state_dict(), alone.model.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def contexts() -> list[dict[str, Any]]:
    """Return memory and time of far contexts for embeddings that go there in unlike ways."""
    positions = ("none", "rotary", "alibi", "t5", "fire")
    return [{"position": name, **in_a_process(read_far, name)} for name in positions]


def read_far(position: str) -> dict[str, Any]:
    """Return the seconds per token read at every length, and the process's most memory."""
    config = ModelConfig(**{**PRESETS["nano"], "trained_length": LENGTHS[0], "position": position})
    model = make_model(config).eval()
    model.initialise(0)
    random = np.random.default_rng(0)
    tokens = random.integers(config.vocabulary_size, size=DOCUMENTS * DOCUMENT_TOKENS)
    starts = np.arange(DOCUMENTS) * DOCUMENT_TOKENS
    tokens[starts - 1] = 0
    store = TokenStore(tokens.astype(np.uint16), starts, len(tokens), 0, config.vocabulary_size)
    per_token = []
    for length in LENGTHS:
        start = time.perf_counter()
        losses = context_losses(model, store, [length], trained_length=LENGTHS[0])
        windows = len(losses.lengths[0].window_losses)
        per_token.append((time.perf_counter() - start) / windows / length)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds_per_token": per_token, "peak_bytes": peak}


def readable(result: dict[str, Any]) -> str:
    """Return the figures as people read them."""
    lines = [f"{result['threads']} threads, torch {result['torch']}"]
    if runs := result.get("runs"):
        ratio = runs["seconds"] / runs["seconds_one_after_another"]
        same = "the same" if runs["same_weights"] else "OTHER"
        lines += [
            "",
            f"{runs['count']} runs of {runs['steps']:,} steps",
            f"  one after another with all cores {runs['seconds_one_after_another']:8.1f} s",
            f"  {runs['processes']} at once with {runs['threads_each']} threads each, benchmark "
            f"included {runs['seconds']:8.1f} s: {ratio:.2f} of that",
            f"  a run alone with as many threads ends with {same} weights",
        ]
    if far := result.get("contexts"):
        names = "".join(f"{length:>9,}" for length in LENGTHS)
        lines += ["", f"seconds per token relative to 1,024    peak GiB\n{'':12}{names}"]
        for row in far:
            if "error" in row:
                lines.append(f"{row['position']:12}{row['error']}")
                continue
            first = row["seconds_per_token"][0]
            cells = "".join(f"{seconds / first:9.2f}" for seconds in row["seconds_per_token"])
            lines.append(f"{row['position']:12}{cells}{row['peak_bytes'] / (1 << 30):9.2f}")
        cells = "".join(f"{length / LENGTHS[0]:9.2f}" for length in LENGTHS)
        lines.append(f"{'keys':12}{cells}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
