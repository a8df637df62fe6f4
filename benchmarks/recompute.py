"""The most memory of a training step, and its time, with and without --recompute.

    python benchmarks/recompute.py [--preset mini] [--context 1024] [--batch-size 8]

Each case is a fresh process with one thread in float32 that takes three steps (forward, backward,
Muon and AdamW); its peak is that of the process, PyTorch included. Beside it stands what the plan
of `wordorder train` estimates. One JSON line per case.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import torch
from own_process import in_a_process

from wordorder.batch import Batch
from wordorder.experiments.paired_run import _peak_bytes
from wordorder.model import PRESETS, ModelConfig, make_model
from wordorder.training.config import TrainConfig
from wordorder.training.optimizers import Optimizer
from wordorder.training.plan import peak_bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", default="mini", choices=PRESETS)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=8)
    options = parser.parse_args()
    for kernel in ("fused", "plain"):
        for recompute in (False, True):
            case = {**vars(options), "kernel": kernel, "recompute": recompute}
            print(json.dumps({**case, **in_a_process(measure, case)}), flush=True)


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """Take steps of one case in this process, and return its peak and the time of a step."""
    torch.set_num_threads(1)
    shape = {**PRESETS[case["preset"]], "trained_length": case["context"], "dropout": 0.1}
    config = TrainConfig(
        model=ModelConfig(**shape),
        batch_size=case["batch_size"],
        recompute=case["recompute"],
        keep="last",
    )
    model = make_model(config.model)
    model.initialise(0)
    model.attention_kernel = case["kernel"]
    model.set_recompute(config.recompute)
    model.train()
    optimizer = Optimizer(model, muon_dtype=torch.float32, use_muon=True, weight_decay=0.0)
    tokens = torch.randint(model.config.vocabulary_size, (case["batch_size"], case["context"] + 1))
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        optimizer.zero_gradients()
        model(Batch(tokens[:, :-1], targets=tokens[:, 1:])).mean().backward()
        optimizer.step(matrix_rate=0.02, rate=0.01)
        seconds.append(time.perf_counter() - start)
    return {
        "peak_bytes": _peak_bytes(),
        "planned_bytes": peak_bytes(config, model),
        "step_seconds": round(min(seconds), 2),
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    main()
