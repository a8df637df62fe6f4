"""Chooses how a run computes, by a benchmark.

Machines differ a hundredfold: on CPUs with AMX or AVX-512 bfloat16 units, bfloat16 is three to
eight times faster than float32, on others up to a hundred times slower; PyTorch's fused attention
has a slow bfloat16 backward on CPUs, but is fastest at long contexts. So a few real steps of each
candidate are timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from wordorder.batch import Batch
from wordorder.errors import BadInput
from wordorder.model import TokenModel
from wordorder.numerals import counted
from wordorder.training.compute import (
    DTYPES,
    HOPELESS,
    Compute,
    compiler_found,
    compute_with,
    fastest_of_three,
    fingerprinted,
    slowdown_in_bfloat16,
    synchronise,
    use,
)
from wordorder.training.config import TrainConfig
from wordorder.training.optimizers import orthogonalise
from wordorder.training.threads import fastest, worth_timing

KERNELS = ("plain", "fused")
STEPS_TIMED = 3
SECONDS_ENOUGH = 1.0  # per candidate: a step this slow is timed once
# A candidate is rejected when its first step (warm-up) takes HOPELESS times as long as the best
# candidate's step, or a later one BEATEN times.
BEATEN = 1.2
# Compiling took 10 to 35 s on the machines measured and saves 5% to 25% of a step.
SECONDS_WORTH_COMPILING = 300.0


def measure(
    config: TrainConfig,
    model: TokenModel,
    batch: Batch,
    worth_seconds: Callable[[float], float],
    threads: Sequence[int] = (),
) -> Compute:
    """Benchmark the candidates and return the fastest; its number of threads is set.

    Args:
        model: with any weights, which do not change.
        batch: one real batch, on the model's device.
        worth_seconds: maps the seconds of one step to those of the whole run, which decide
            whether compiling is worth its time.
        threads: the numbers of threads to choose from, ascending; empty: the current number.

    Raises:
        BadInput: a requested kernel or compilation is not available.
    """
    device = next(model.parameters()).device.type
    if config.kernel == "flex" and device != "cuda":
        raise BadInput(
            f"--kernel flex needs an NVIDIA or AMD GPU: on {device} use --kernel auto",
            code="training.flex-device",
        )
    if threads:
        # If other processes use the cores, some threads would wait and distort the timings.
        torch.set_num_threads(worth_timing(threads)[-1])
    compute = fingerprinted(Compute(device, torch.get_num_threads()))
    slower = slowdown_in_bfloat16() if device == "cpu" else 1.0
    dtypes = ("bfloat16", "float32") if slower < HOPELESS else ("float32",)
    took, dtype, kernel, shown = _dtype_and_kernel(config, model, batch, compute, dtypes)
    if len(dtypes) == 1:
        shown = f"products in bfloat16 {slower:.0f} times slower, {shown}"
    compute = compute_with(compute, dtype=dtype, kernel=kernel)
    if threads:
        use(model, compute)
        compute, took, seen = _threads(compute, model, batch, threads, took)
        shown += seen
    compute = compute_with(compute, muon_dtype=_muon_dtype(model, dtypes))
    compiled, why = _compile(config, device, worth_seconds(took))
    use(model, compute)
    return compute_with(compute, compile=compiled, reason=f"measured: {shown}; {why}")


def _dtype_and_kernel(
    config: TrainConfig, model: TokenModel, batch: Batch, compute: Compute, dtypes: tuple[str, ...]
) -> tuple[float, str, str, str]:
    """Return the seconds of the fastest step, its dtype and kernel, and all timings as text."""
    best: tuple[float, str, str] | None = None
    timings: dict[str, str] = {}
    kernels: tuple[str, ...] = (*KERNELS, "flex") if compute.device == "cuda" else KERNELS
    if config.model.kind == "gru":
        kernels = ("plain",)
    for dtype in _choices(config.dtype, dtypes):
        for kernel in _choices(config.kernel, kernels):
            use(model, compute_with(compute, dtype=dtype, kernel=kernel))
            fastest = best[0] if best else None
            try:
                took = step_seconds(model, batch, fastest)
            except Exception as error:
                if kernel != "flex":
                    raise
                if config.kernel == "flex":
                    reason = " ".join(str(error).split())[:200]
                    raise BadInput(
                        f"--kernel flex: PyTorch cannot compile {config.model.position} "
                        f"({reason}): use --kernel auto",
                        code="training.flex-not-compiled",
                    ) from error
                timings[f"{dtype} {kernel}"] = "failed"  # PyTorch's compiler does not support it
                continue
            timings[f"{dtype} {kernel}"] = f"{1e3 * took:.0f} ms"
            if best is None or took < best[0]:
                best = (took, dtype, kernel)
    assert best is not None  # only flex may fail
    took, dtype, kernel = best
    times = ", ".join(f"{name} {how}" for name, how in timings.items())
    return took, dtype, kernel, times


def _threads(
    compute: Compute, model: TokenModel, batch: Batch, numbers: Sequence[int], took: float
) -> tuple[Compute, float, str]:
    """Return `compute` with the fastest number of threads, the seconds of a step, and a note."""

    def step() -> None:
        model(batch).mean().backward()
        model.zero_grad(set_to_none=True)

    best, seconds = fastest(step, numbers, compute.threads)
    torch.set_num_threads(best)
    times = [f", {counted(n, 'thread')} {1e3 * s:.0f} ms" for n, s in seconds.items()]
    waiting = [n for n in numbers if n not in (seconds or {best: took})]
    times += [f", no core is free for {counted(n, 'thread')}" for n in waiting]
    return compute_with(compute, threads=best), seconds.get(best, took), "".join(times)


def step_seconds(model: nn.Module, batch: Batch, best: float | None = None) -> float:
    """Return the seconds of one forward and backward pass, the best of a few.

    Args:
        best: seconds of the best candidate so far; a much slower candidate is timed only once.
    """
    times = []
    for _ in range(1 + STEPS_TIMED):
        start = time.perf_counter()
        model(batch).mean().backward()
        synchronise(batch.tokens.device)
        times.append(time.perf_counter() - start)
        model.zero_grad(set_to_none=True)
        if len(times) > 1 and sum(times) > SECONDS_ENOUGH:
            break
        if best is not None and times[-1] > (HOPELESS if len(times) == 1 else BEATEN) * best:
            break
    return min(times[1:] or times)


def _choices(setting: str, candidates: tuple[str, ...]) -> tuple[str, ...]:
    return candidates if setting == "auto" else (setting,)


def _compile(config: TrainConfig, device: str, run_seconds: float) -> tuple[bool, str]:
    if config.compile == "no" or config.model.kind == "gru":
        return False, "eager"
    if config.shard:
        return False, "eager: the weights are split"
    if device == "cpu" and not compiler_found():
        if config.compile == "yes":
            raise BadInput(
                "--compile yes needs a C++ compiler: install g++, or set CXX",
                code="training.no-compiler",
            )
        return False, "eager: no C++ compiler found"
    if config.compile == "yes":
        return True, "compiled: --compile yes"
    if run_seconds < SECONDS_WORTH_COMPILING:
        return False, "eager: the run is too short to repay compiling"
    return True, "compiled: the run is long enough to repay it"


def _muon_dtype(model: TokenModel, dtypes: tuple[str, ...]) -> str:
    """Return the one of `dtypes` in which Muon's orthogonalisation of this model is faster."""
    matrices = [part.value for part in model.muon_parts()]
    if not matrices or len(dtypes) == 1:
        return "float32"
    largest = max(matrices, key=lambda matrix: matrix.numel())
    stack = torch.randn(2, *largest.shape, device=largest.device)
    times = {name: fastest_of_three(partial(orthogonalise, stack, DTYPES[name])) for name in dtypes}
    return min(times, key=times.__getitem__)
