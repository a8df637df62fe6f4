"""Which share of the machine's matrix throughput a training step achieves, for each position.

    python benchmarks/train_step.py [--json]
    python benchmarks/train_step.py --device cuda --dtype bfloat16 --kernel fused --compile yes \
        --width 768 --layers 12 --vocabulary 50304 --contexts 1024 --positions rotary \
        --tokens 32768 --seconds 60 --peer nanoGPT

The figure is the GFLOP/s of a whole step (forward, backward, Muon and AdamW) relative to the
GFLOP/s of the forward and backward pass of one linear layer of the same width, in the machine's
faster dtype, timed before and after in the same process. Both use the dtype and kernel that
`wordorder train` chooses, and eager mode unless --compile is given.

Counted are 6 operations per weight and token, and 6 x layers x context x width per token for causal
attention, which computes half of the square; the operations of the optimizer are not counted. On a
known GPU the share of its bfloat16 peak (`of_peak`) is given too: there the whole square counts, as
in appendix B of PaLM and in nanoGPT, whose model is trained beside with --peer. With --seconds each
model trains for that long (the peer for 15 seconds at most), instead of by turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch

from wordorder.allocator import keep_large_blocks
from wordorder.batch import Batch
from wordorder.model import ModelConfig, make_model
from wordorder.training.benchmark import measure
from wordorder.training.compute import DTYPES, compiled, processor_name, use
from wordorder.training.config import TrainConfig
from wordorder.training.optimizers import Optimizer

CONTEXTS = (256, 1024, 4096)
TOKENS = 8192  # in a step, at every context
# Dense bfloat16 TFLOP/s, from NVIDIA's data sheets.
PEAKS = {
    "H100 PCIe": 756,
    "H100 NVL": 835,
    "H100": 989,
    "H200": 989,
    "B200": 2250,
    "A100": 312,
    "L40S": 362,
}
PEER_SECONDS = 15.0
# The rest of the catalogue by name: some of it is no faster than many minutes a table.
FIVE = ("none", "sinusoidal", "learned", "rotary", "alibi")


def main() -> None:
    options = _options()
    keep_large_blocks()
    dtype, limit = fastest_linear(options)
    rows = []
    for context in options.contexts:
        results = time_positions(options, context)
        for step, row in results.values():
            row["limit_gflops"], row["of_limit"] = limit, row["gflops"] / limit
            row["against_none"] = step / results["none"][0] if "none" in results else None
            rows.append(row)
    again = linear_gflops(options, DTYPES[dtype])
    facts = {
        "width": options.width,
        "layers": options.layers,
        "vocabulary": options.vocabulary,
        "tokens_per_step": options.tokens,
        "device": options.device,
        "processor": processor_name(options.device),
        "peak_tflops": peak_tflops(options.device),
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
    if options.peer is not None:
        steps["nanoGPT"], facts["nanoGPT"] = make_peer_step(options, context)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(0 if options.seconds else options.rounds):
        for name, step in steps.items():
            times[name].append(timed(step))
    for name, step in steps.items():
        if options.seconds:
            seconds = min(options.seconds, PEER_SECONDS if name == "nanoGPT" else options.seconds)
            times[name] = timed_for(step, seconds)
    found, peak = {}, peak_tflops(options.device)
    for name, taken in times.items():
        # Of a run of some length the median: what it keeps up.
        best = statistics.median(taken) if options.seconds else min(taken)
        whole = facts[name].pop("operations_of_the_square") / best / 1e12
        found[name] = (
            best,
            {
                "position": name,
                "context": context,
                **facts[name],
                "seconds": best,
                "median_seconds": statistics.median(taken),
                "tokens_per_second": facts[name]["tokens"] / best,
                "of_peak": whole / peak if peak else None,
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
    batch_size = max(1, options.tokens // context)
    model = make_model(config)
    model.initialise(0)
    model.to(options.device)
    tokens = random_tokens(options, batch_size, context)
    batch = Batch(tokens[:, :-1], tokens[:, 1:])
    asked = TrainConfig(
        model=config,
        compile=options.compile,
        dtype=options.dtype,
        kernel=options.kernel,
        batch_size=batch_size,
    )
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
    facts = {
        "parameters": counts["total"],
        "dtype": machine.dtype,
        "kernel": machine.kernel,
        "compiled": machine.compile,
        **operations(options, weights, batch_size * context, context),
    }
    step()
    return step, facts


def operations(
    options: argparse.Namespace, weights: int, tokens: int, context: int
) -> dict[str, int]:
    """Return the operations of a step, and those if attention computed the whole square."""
    attention = 6 * options.layers * context * options.width
    return {
        "operations": tokens * (6 * weights + attention),
        "operations_of_the_square": tokens * (6 * weights + 2 * attention),
        "tokens": tokens,
    }


def make_peer_step(
    options: argparse.Namespace, context: int
) -> tuple[Callable[[], None], dict[str, Any]]:
    """Return a training step of nanoGPT's model of the same size, with its own optimizer."""
    sys.path.insert(0, str(options.peer))
    from model import GPT, GPTConfig  # nanoGPT's

    kind = torch.device(options.device).type
    heads = options.width // 64
    sizes = {"n_layer": options.layers, "n_head": heads, "n_embd": options.width}
    config = GPTConfig(
        block_size=context, vocab_size=options.vocabulary, bias=False, dropout=0.0, **sizes
    )
    with redirect_stdout(sys.stderr):
        model = GPT(config).to(options.device)
        optimizer = model.configure_optimizers(0.1, 6e-4, (0.9, 0.95), kind)
    forward = torch.compile(model) if options.compile == "yes" else model
    batch_size = max(1, options.tokens // context)
    tokens = random_tokens(options, batch_size, context)
    read, expected = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    is_half = options.dtype != "float32"

    def step() -> None:
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=is_half):
            _, loss = forward(read, expected)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    facts = {
        "parameters": model.get_num_params(),
        "dtype": "bfloat16" if is_half else "float32",
        "kernel": "fused",
        "compiled": options.compile == "yes",
        **operations(options, model.get_num_params(), batch_size * context, context),
    }
    step()
    return step, facts


def random_tokens(options: argparse.Namespace, batch_size: int, context: int) -> torch.Tensor:
    """Return rows of random tokens, each one longer than the context."""
    shape = (batch_size, context + 1)
    return torch.randint(0, options.vocabulary, shape, device=options.device)


def peak_tflops(device: str) -> int | None:
    """Return the bfloat16 peak of the GPU; None if unknown, or not a GPU."""
    name = processor_name(device) if torch.device(device).type == "cuda" else ""
    return next((peak for part, peak in PEAKS.items() if part in name), None)


def fastest_linear(options: argparse.Namespace) -> tuple[str, float]:
    """Return the dtype in which one linear layer is fastest here, and its GFLOP/s."""
    rates = {name: linear_gflops(options, dtype) for name, dtype in DTYPES.items()}
    best = max(rates, key=rates.__getitem__)
    return best, rates[best]


def linear_gflops(options: argparse.Namespace, dtype: torch.dtype) -> float:
    """Return the GFLOP/s of the forward and backward of one linear layer."""
    width, tokens = options.width, options.tokens
    where: dict[str, Any] = {"dtype": dtype, "device": options.device}
    layer = torch.nn.Linear(width, width, bias=False, **where)
    x = torch.randn(tokens, width, requires_grad=True, **where)
    gradient = torch.randn(tokens, width, **where)

    def step() -> None:
        layer(x).backward(gradient)
        layer.weight.grad = x.grad = None

    step()
    best = min(timed(step) for _ in range(10))
    return 6 * tokens * width * width / best / 1e9


def timed(step: Callable[[], None]) -> float:
    """Return the seconds of one call."""
    wait()
    start = time.perf_counter()
    step()
    wait()
    return time.perf_counter() - start


def timed_for(step: Callable[[], None], seconds: float) -> list[float]:
    """Run steps for some seconds; return the mean seconds of a step in each half second."""
    count, taken = max(1, int(0.5 / min(timed(step) for _ in range(3)))), []
    end = time.perf_counter() + seconds

    def steps() -> None:
        for _ in range(count):
            step()

    while not taken or time.perf_counter() < end:
        taken.append(timed(steps) / count)
    return taken


def wait() -> None:
    """Wait until the GPU has finished all submitted work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def show(facts: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Print the table for people."""
    limit = facts["limit"]
    print(
        f"width {facts['width']}, {facts['layers']} layers, vocabulary {facts['vocabulary']}, "
        f"{facts['tokens_per_step']} tokens a step, {facts['threads']} threads, "
        f"torch {facts['torch']}\n{facts['processor']}: one linear layer, {limit['dtype']}: "
        f"{limit['gflops_before']:.0f} GFLOP/s before, {limit['gflops_after']:.0f} after\n"
    )
    print(f"{'context':>7}  {'position':<11}{'ms':>7}{'GFLOP/s':>9}{'of limit':>9}{'/ none':>8}")
    for row in rows:
        none = row["against_none"]
        against = f"{none:>8.2f}" if none else f"{'':>8}"
        peak = f"  {row['of_peak']:.2f} of the peak" if row["of_peak"] else ""
        how = f"{row['dtype']} {row['kernel']}{' compiled' if row['compiled'] else ''}"
        print(
            f"{row['context']:>7}  {row['position']:<11}{1e3 * row['seconds']:>7.0f}"
            f"{row['gflops']:>9.0f}{row['of_limit']:>9.2f}{against}  {how}{peak}"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--contexts", type=int, nargs="+", default=CONTEXTS)
    parser.add_argument("--positions", nargs="+", default=FIVE)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=TOKENS, help="in a step")
    parser.add_argument("--seconds", type=float, default=0.0, help="train for so long")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("auto", *DTYPES), default="auto")
    parser.add_argument("--kernel", choices=("auto", "plain", "fused", "flex"), default="auto")
    parser.add_argument("--peer", type=Path, help="nanoGPT's folder: its model beside")
    parser.add_argument("--compile", choices=("no", "yes"), default="no")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
