"""Which share of the machine's matrix throughput a training step achieves, for each position.

    python benchmarks/train_step.py [--json]

The figure is the GFLOP/s of a whole step (forward, backward, Muon and AdamW) relative to the
GFLOP/s of the forward and backward pass of one linear layer of the same width, in the machine's
faster dtype, timed before and after in the same process. Both use the dtype and kernel that
`wordorder train` chooses, and eager mode unless --compile is given.

Counted are 6 operations per weight and token, and 6 x layers x context x width per token for causal
attention, which computes half of the square; the operations of the optimizer are not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from wordorder.allocator import keep_large_blocks
from wordorder.batch import Batch
from wordorder.model import ModelConfig, make_model
from wordorder.training.compute import DTYPES, compiled, measure, use
from wordorder.training.config import TrainConfig
from wordorder.training.optimizers import Optimizer

CONTEXTS = (256, 1024, 4096)
TOKENS = 8192  # in a step, at every context
# The rest of the catalogue by name: some of it is no faster than many minutes a table.
FIVE = ("none", "sinusoidal", "learned", "rotary", "alibi")


def main() -> None:
    options = _options()
    keep_large_blocks()
    dtype, limit = fastest_linear(options.width)
    rows = []
    for context in options.contexts:
        results = time_positions(options, context)
        for step, row in results.values():
            row["limit_gflops"], row["of_limit"] = limit, row["gflops"] / limit
            row["against_none"] = step / results["none"][0]
            rows.append(row)
    again = linear_gflops(options.width, DTYPES[dtype])
    facts = {
        "width": options.width,
        "layers": options.layers,
        "vocabulary": options.vocabulary,
        "tokens_per_step": TOKENS,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "limit": {"dtype": dtype, "gflops_before": limit, "gflops_after": again},
    }
    if options.json:
        print(json.dumps({**facts, "rows": rows}))
    else:
        show(facts, rows)


def time_positions(options: argparse.Namespace, context: int) -> dict[str, tuple[float, Any]]:
    """Time the positions in turn, several rounds, so that a slow moment hits them all."""
    steps, facts = {}, {}
    for name in options.positions:
        steps[name], facts[name] = make_step(options, name, context)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(options.rounds):
        for name, step in steps.items():
            times[name].append(timed(step))
    found = {}
    for name, taken in times.items():
        best = min(taken)
        found[name] = (
            best,
            {
                "position": name,
                "context": context,
                **facts[name],
                "seconds": best,
                "median_seconds": statistics.median(taken),
                "gflops": facts[name].pop("operations") / best / 1e9,
            },
        )
    return found


def make_step(
    options: argparse.Namespace, position: str, context: int
) -> tuple[Callable[[], None], dict[str, Any]]:
    """Return one training step as a function, and how it is computed."""
    config = ModelConfig(
        position=position,
        width=options.width,
        layers=options.layers,
        heads=options.width // 64,
        vocabulary_size=options.vocabulary,
        trained_length=context,
        dropout=0.0,  # which peers and limits have none of
    )
    batch_size = max(1, TOKENS // context)
    model = make_model(config)
    model.initialise(0)
    tokens = torch.randint(0, options.vocabulary, (batch_size, context + 1))
    batch = Batch(tokens[:, :-1], tokens[:, 1:])
    asked = TrainConfig(model=config, compile=options.compile, batch_size=batch_size)
    machine = measure(asked, model, batch, lambda step: 0.0)
    use(model, machine)
    forward = compiled(model, machine)
    optimizer = Optimizer(
        model,
        muon_dtype=DTYPES[machine.muon_dtype],
        use_muon=True,
        weight_decay=0.0,
    )

    def step() -> None:
        optimizer.zero_gradients()
        forward(batch).mean().backward()
        optimizer.step(matrix_rate=1e-3, rate=1e-3)

    counts = model.parameter_counts()
    weights = counts["matrices"] + options.vocabulary * options.width
    count = batch_size * context
    operations = count * (6 * weights + 6 * options.layers * context * options.width)
    facts = {
        "dtype": machine.dtype,
        "kernel": machine.kernel,
        "compiled": machine.compile,
        "operations": operations,
        "tokens": count,
    }
    step()
    return step, facts


def fastest_linear(width: int) -> tuple[str, float]:
    """Return the dtype in which one linear layer is fastest here, and its GFLOP/s."""
    rates = {name: linear_gflops(width, dtype) for name, dtype in DTYPES.items()}
    best = max(rates, key=rates.__getitem__)
    return best, rates[best]


def linear_gflops(width: int, dtype: torch.dtype) -> float:
    """Return the GFLOP/s of the forward and backward of one linear layer."""
    layer = torch.nn.Linear(width, width, bias=False, dtype=dtype)
    x = torch.randn(TOKENS, width, dtype=dtype, requires_grad=True)
    gradient = torch.randn(TOKENS, width, dtype=dtype)

    def step() -> None:
        layer(x).backward(gradient)
        layer.weight.grad = x.grad = None

    step()
    best = min(timed(step) for _ in range(10))
    return 6 * TOKENS * width * width / best / 1e9


def timed(step: Callable[[], None]) -> float:
    """Return the seconds of one call."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def show(facts: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Print the table for people."""
    limit = facts["limit"]
    print(
        f"width {facts['width']}, {facts['layers']} layers, vocabulary {facts['vocabulary']}, "
        f"{facts['tokens_per_step']} tokens a step, {facts['threads']} threads, "
        f"torch {facts['torch']}\none linear layer, {limit['dtype']}: "
        f"{limit['gflops_before']:.0f} GFLOP/s before, {limit['gflops_after']:.0f} after\n"
    )
    print(f"{'context':>7}  {'position':<11}{'ms':>7}{'GFLOP/s':>9}{'of limit':>9}{'/ none':>8}")
    for row in rows:
        how = f"{row['dtype']} {row['kernel']}{' compiled' if row['compiled'] else ''}"
        print(
            f"{row['context']:>7}  {row['position']:<11}{1e3 * row['seconds']:>7.0f}"
            f"{row['gflops']:>9.0f}{row['of_limit']:>9.2f}{row['against_none']:>8.2f}  {how}"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--contexts", type=int, nargs="+", default=CONTEXTS)
    parser.add_argument("--positions", nargs="+", default=FIVE)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", choices=("no", "yes"), default="no")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
