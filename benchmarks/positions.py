"""The cost of each positional embedding: time and memory of an attention layer, relative to none.

    python benchmarks/positions.py [--contexts 256 1024] [--positions alibi t5] [--json]

A layer is `wordorder.model`'s attention with its projections, as `wordorder train` runs it, and
what the embedding does at the input and once per forward pass. Forward and backward, width 384,
6 heads, 8,192 tokens at a time (16,384 at the longest context), with the fastest attention kernel
(`flex` only on CUDA). It takes turns with the same layer without an embedding, in a process of its
own (with --here in this one); peak memory is that of the process beyond its imports. On CUDA
layers run in bfloat16 and compiled: `none` is then causal flash attention, and 0.7 of its speed is
1.43 times its time.

Rotary's rotation is timed against a copy of the same bytes into existing memory, and against
transformers, rotary-embedding-torch and x-transformers where they are installed.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from typing import Any

import torch
from own_process import in_a_process
from torch import Tensor

from wordorder.model import LanguageModel, ModelConfig
from wordorder.positions import CATALOGUE, ModelShape, Rotary, parse
from wordorder.positions.base import TokenLayout
from wordorder.training.compute import DTYPES

CONTEXTS = (256, 1024, 4096, 16384)
TOKENS = 8192
WIDTH, HEADS = 384, 6


def main() -> None:
    options = _options()
    for spec in options.positions:
        parse(spec)
    rows, end = [], time.perf_counter() + (options.seconds or float("inf"))
    for context in options.contexts:
        for spec in options.positions:
            if time.perf_counter() > end:
                break
            measure = here if options.here else in_a_process
            row = measure(measure_layer, options, spec, context)
            rows.append({"position": spec, "context": context, **row})
            print(line(rows[-1]), file=sys.stderr if options.json else sys.stdout, flush=True)
    rotary = None if options.layers_only else in_a_process(measure_rotary, options)
    facts = {
        "device": options.device,
        "dtype": options.dtype,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    if options.json:
        print(json.dumps({**facts, "layers": rows, "rotary": rotary}))
    elif rotary is not None:
        show_rotary(rotary)


def here(measure: Callable[..., dict[str, Any]], *given: Any) -> dict[str, Any]:
    """Return what a function measures in this process, or what went wrong."""
    torch._dynamo.reset()  # the compiler gives up on code that it has compiled eight times
    try:
        return measure(*given)
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return {"error": " ".join(f"{type(error).__name__}: {error}".split())[:200]}


def measure_layer(options: argparse.Namespace, spec: str, context: int) -> dict[str, Any]:
    """Return seconds of a layer with an embedding, as a ratio to none, and its peak memory."""
    device = torch.device(options.device)
    before = memory(device)
    step = layer_step(options, spec, context)
    kernel = fastest_kernel(step, context, device, options.kernels)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()  # of the kernels it does not take
        step(kernel)
    peak = memory(device) - before
    bare = layer_step(options, "none", context)
    # Without a bias the fused kernel is causal flash attention.
    bare_kernels = ["fused"] if options.kernels else None
    bare_kernel = fastest_kernel(bare, context, device, bare_kernels)
    rounds = 1 if context > 4096 and device.type == "cpu" else options.rounds
    taken, against = [], []
    for _ in range(rounds):
        taken.append(timed(step, kernel, device))
        against.append(timed(bare, bare_kernel, device))
    ratio = statistics.median(a / b for a, b in zip(taken, against, strict=True))
    return {
        "seconds": min(taken),
        "against_none": ratio,
        "peak_gib": peak,
        "kernel": kernel,
        "batch": batch_of(context),
    }


def fastest_kernel(
    step: Callable[[str], None],
    context: int,
    device: torch.device,
    kernels: Sequence[str] | None = None,
) -> str:
    """Return the attention kernel that takes the step fastest, each warm (and compiled).

    Args:
        kernels: those to try; None: all that the context and the device allow.
    """
    if kernels is None:
        kernels = ["fused"] if context > 4096 else ["plain", "fused"]
        kernels += ["flex"] if device.type == "cuda" else []
    times = {}
    for kernel in kernels:
        # What PyTorch's compiler does not take, it refuses.
        with suppress(Exception) if len(kernels) > 1 and kernel == "flex" else nullcontext():
            step(kernel)
            times[kernel] = timed(step, kernel, device) if len(kernels) > 1 else 0.0
    return min(times, key=times.__getitem__)


def batch_of(context: int) -> int:
    return max(1, TOKENS // context)


def layer_step(options: argparse.Namespace, spec: str, context: int) -> Callable[[str], None]:
    """Return a function that runs a layer forward and backward with an attention kernel."""
    config = ModelConfig(
        position=spec, width=WIDTH, heads=HEADS, layers=1, trained_length=context, dropout=0.0
    )
    torch.manual_seed(0)
    model = LanguageModel(config).to(options.device)
    model.compute_dtype = DTYPES[options.dtype]
    batch = batch_of(context)
    x = torch.randn(batch, context, WIDTH, device=options.device, requires_grad=True)
    gradient = torch.randn(batch, context, WIDTH, device=options.device).to(model.compute_dtype)
    tokens = torch.zeros(1, context, dtype=torch.long, device=options.device)
    parameters = [*model.blocks[0].attention.parameters(), *model.position.parameters()]

    def forward() -> Tensor:
        layout = model.layout(tokens)
        embedded = model.position.embed(x, layout).to(model.compute_dtype)
        return model.blocks[0].attention(embedded, model.contexts(layout)[0])

    forward = torch.compile(forward) if options.compile else forward

    def step(kernel: str) -> None:
        model.attention_kernel = kernel
        used = [x, *(p for p in parameters if p.requires_grad)]
        torch.autograd.grad(forward(), used, gradient, allow_unused=True)

    return step


def timed(step: Callable[[str], None], kernel: str, device: torch.device) -> float:
    start = time.perf_counter()
    step(kernel)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def memory(device: torch.device) -> float:
    """Return the largest memory held so far, in GiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / (2**30 if sys.platform == "darwin" else 2**20)


def measure_rotary(options: argparse.Namespace) -> dict[str, Any]:
    """Return milliseconds of rotating queries and keys (8, 6, 1024, 64), ours and others'."""
    torch.set_grad_enabled(False)
    q, k = torch.randn(2, 8, 6, 1024, 64, device=options.device).to(DTYPES[options.dtype])
    there = torch.empty_like(q)
    rotary = Rotary(ModelShape(6, 64))
    tables = rotary.prepare(TokenLayout.of(torch.arange(1024, device=options.device)[None]))
    ways: dict[str, Callable[[], Any]] = {
        "copy": lambda: (there.copy_(q), there.copy_(k)),
        "wordorder": lambda: (
            rotary.transform_queries(q, tables, None),
            rotary.transform_keys(k, tables, None),
        ),
    }
    missing = []
    for name, make in (
        ("transformers", _transformers),
        ("rotary-embedding-torch", _rotary_embedding_torch),
        ("x-transformers", _x_transformers),
    ):
        try:
            ways[name] = make(q, k)
        except ImportError:
            missing.append(name)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(10 * options.rounds):
        for name, way in ways.items():
            times[name].append(timed(lambda _, way=way: way(), "", torch.device(options.device)))
    result = {name: 1000 * statistics.median(taken) for name, taken in times.items()}
    peers = [result[name] for name in result if name not in ("copy", "wordorder")]
    return {
        "milliseconds": result,
        "over_copy": result["wordorder"] / result["copy"],
        "fastest_peer_over_ours": min(peers) / result["wordorder"] if peers else None,
        "not_installed": missing,
    }


def _transformers(q: Tensor, k: Tensor) -> Callable[[], Any]:
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import (
        LlamaRotaryEmbedding,
        apply_rotary_pos_emb,
    )

    config = LlamaConfig(hidden_size=384, num_attention_heads=6, max_position_embeddings=1024)
    table = LlamaRotaryEmbedding(config).to(q.device)
    cosine, sine = table(q, torch.arange(1024, device=q.device)[None])
    return lambda: apply_rotary_pos_emb(q, k, cosine, sine)


def _rotary_embedding_torch(q: Tensor, k: Tensor) -> Callable[[], Any]:
    from rotary_embedding_torch import RotaryEmbedding

    rotary = RotaryEmbedding(dim=64).to(q.device)
    return lambda: (rotary.rotate_queries_or_keys(q), rotary.rotate_queries_or_keys(k))


def _x_transformers(q: Tensor, k: Tensor) -> Callable[[], Any]:
    from x_transformers.x_transformers import RotaryEmbedding, apply_rotary_pos_emb

    rotary = RotaryEmbedding(64).to(q.device)
    frequencies, scale = rotary(torch.arange(1024, device=q.device))
    return lambda: (
        apply_rotary_pos_emb(q, frequencies, scale),
        apply_rotary_pos_emb(k, frequencies, scale),
    )


def line(row: dict[str, Any]) -> str:
    """Return the row of one embedding at one context."""
    head = f"{row['context']:>6}  {row['position']:<16}"
    if "error" in row:
        return f"{head}{row['error']}"
    return (
        f"{head}{1000 * row['seconds']:>9.0f} ms {row['against_none']:>6.2f} x none "
        f"{row['peak_gib']:>6.2f} GiB  {row['kernel']}"
    )


def show_rotary(result: dict[str, Any]) -> None:
    print("\nrotating queries and keys (8, 6, 1024, 64)")
    for name, taken in result["milliseconds"].items():
        print(f"  {name:<24}{taken:>7.2f} ms")
    print(f"  {result['over_copy']:.2f} x a copy", end="")
    if result["fastest_peer_over_ours"] is not None:
        print(f", {result['fastest_peer_over_ours']:.1f} x faster than the fastest peer", end="")
    print()
    if result["not_installed"]:
        print(f"  not installed: pip install {' '.join(result['not_installed'])}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--positions", nargs="+", default=list(CATALOGUE))
    parser.add_argument("--contexts", nargs="+", type=int, default=CONTEXTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=tuple(DTYPES), help="bfloat16 on cuda, else float32")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, help="yes on cuda")
    parser.add_argument("--layers-only", action="store_true")
    parser.add_argument("--kernels", nargs="+", choices=("plain", "fused", "flex"))
    parser.add_argument("--here", action="store_true", help="all in this process")
    parser.add_argument("--seconds", type=float, help="begin no further row after so long")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    on_gpu = torch.device(options.device).type == "cuda"
    options.dtype = options.dtype or ("bfloat16" if on_gpu else "float32")
    options.compile = on_gpu if options.compile is None else options.compile
    return options


if __name__ == "__main__":
    main()
