"""How a run computes: dtype, attention kernel, threads and compilation, chosen by a benchmark.

Machines differ a hundredfold: on CPUs with AMX or AVX-512 bfloat16 units, bfloat16 is three to
eight times faster than float32, on others hundreds of times slower; PyTorch's fused attention has a
slow bfloat16 backward on CPUs, but is fastest at long contexts. So a few real steps of each
candidate are timed. The choice is recorded with the run, together with everything else that affects
the last bits of a result: instruction set, processor, torch version and number of threads.
"""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from wordorder.batch import Batch
from wordorder.errors import BadInput, Refused
from wordorder.model import TokenModel
from wordorder.numerals import counted
from wordorder.settings import Device, Positive, Threads, from_record
from wordorder.training.config import TrainConfig
from wordorder.training.optimizers import orthogonalise
from wordorder.training.threads import fastest

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
KERNELS = ("plain", "fused")
STEPS_TIMED = 3
SECONDS_ENOUGH = 2.0  # per candidate: a step this slow is timed once
# The edge of two square matrices whose product tells whether bfloat16 is worth a step at all.
PRODUCT_SIZE = 256
# A candidate is rejected when its first step (warm-up) or a later one takes this many times the
# best candidate's step.
HOPELESS, BEATEN = 4.0, 1.2
# Compiling took 10 to 35 s on the machines measured and saves 5% to 25% of a step.
SECONDS_WORTH_COMPILING = 300.0


@dataclass(frozen=True)
class Compute:
    """How a run computes; recorded, because other choices change the last bits of results.

    Args:
        device: cpu, cuda or mps.
        threads: number of CPU threads.
        dtype: dtype of activations.
        kernel: attention kernel.
        compile: whether to use torch.compile.
        muon_dtype: dtype of Muon's orthogonalisation.
        torch: version of PyTorch.
        reason: timings and reasons of the choice, for the plan.
        instructions: the CPU instruction set that PyTorch uses; None: not recorded.
        processor: the model of the CPU, or of the GPU on cuda; None: not recorded.
        ranks: number of processes that share a batch.
    """

    device: Device
    threads: Threads
    dtype: Literal["float32", "bfloat16"] = "float32"
    kernel: Literal["plain", "fused", "flex"] = "plain"
    compile: bool = False
    muon_dtype: Literal["float32", "bfloat16"] = "float32"
    torch: str = torch.__version__
    reason: str = ""
    instructions: str | None = None
    processor: str | None = None
    ranks: Positive = 1

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Compute:
        """Return what `to_dict` recorded.

        Raises:
            BadInput: an unknown field or an invalid value.
        """
        return from_record(cls, values, "machine")


def instruction_set() -> str:
    """Return the CPU instruction set that PyTorch uses, such as AVX512."""
    return torch.backends.cpu.get_cpu_capability()


def processor_name(device: str) -> str:
    """Return the model of the GPU on cuda, otherwise that of the CPU."""
    if device == "cuda" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def fingerprinted(compute: Compute) -> Compute:
    """Return `compute` with the instruction set and the processor of this machine."""
    processor = processor_name(compute.device)
    return compute_with(compute, instructions=instruction_set(), processor=processor)


def pick_device(name: str) -> str:
    """Return the device for `auto`, or the named one.

    Raises:
        BadInput: PyTorch does not find the named device.
    """
    mps = torch.backends.mps.is_available()
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    kind, _, number = name.partition(":")
    there = {"cpu": 1, "mps": int(mps)}.get(kind, 0)
    if kind == "cuda" and torch.cuda.is_available():
        there = torch.cuda.device_count()
    if int(number or 0) >= there:
        raise BadInput(
            f"--device {name} is not available: PyTorch finds no such device; use --device auto "
            "or cpu",
            code="training.no-device",
        )
    return name


def compiler_found() -> bool:
    """Return whether the C++ compiler that torch.compile needs on a CPU is installed."""
    named = os.environ.get("CXX")
    return any(shutil.which(c) for c in ([named] if named else ["c++", "g++", "clang++"]))


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
        # First, because beside another process the candidates below would be timed with threads
        # that wait for a core. In float32, which is not slow on any machine.
        first = Compute(device, torch.get_num_threads())
        first = compute_with(first, dtype=_choices(config.dtype, ("float32",))[0])
        use(model, first)
        _threads(first, model, batch, threads, 0.0)
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
    best, timings = None, {}
    kernels = (*KERNELS, "flex") if compute.device == "cuda" else KERNELS
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
                timings[f"{dtype} {kernel}"] = "cannot"  # PyTorch's compiler does not support it
                continue
            timings[f"{dtype} {kernel}"] = f"{1e3 * took:.0f} ms"
            if best is None or took < best[0]:
                best = (took, dtype, kernel)
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


def compute_with(compute: Compute, **changes: Any) -> Compute:
    """Return `compute` with some fields changed."""
    return Compute(**{**asdict(compute), **changes})


def use(model: TokenModel, compute: Compute) -> None:
    """Set a model's compute dtype and attention kernel."""
    model.compute_dtype = DTYPES[compute.dtype]
    model.attention_kernel = compute.kernel


def compiled(model: TokenModel, compute: Compute) -> nn.Module:
    """Return the model, compiled if that was chosen."""
    return torch.compile(model) if compute.compile else model


def check_same(
    recorded: Compute,
    config: TrainConfig,
    inexact: bool,
    say: Callable[[str], None] = lambda line: None,
    ranks: int = 1,
) -> Compute:
    """Return how to compute a resumed run: as recorded, or as near as possible if `inexact`.

    Another number of ranks is no obstacle: the batches stay, and losses agree to rounding.

    Args:
        say: called with a message about facts that an old run did not record.
        ranks: number of processes now.

    Raises:
        Refused: this machine cannot compute as recorded, and `inexact` is not set.
    """
    differs = []
    device = recorded.device
    if device == "cuda" and not torch.cuda.is_available():
        differs.append("it ran on cuda, which is not available")
        device = "cpu"
    if recorded.compile and device == "cpu" and not compiler_found():
        differs.append("it was compiled, but there is no C++ compiler")
    if recorded.torch != torch.__version__:
        differs.append(f"it ran on torch {recorded.torch}, this is {torch.__version__}")
    if device == "cpu" and recorded.threads > (os.cpu_count() or 1):
        cores = counted(os.cpu_count() or 1, "core")
        differs.append(f"it used {recorded.threads} threads, and this machine has {cores}")
    here = fingerprinted(compute_with(recorded, device=device))
    differs += _other_processor(recorded, here, say)
    if differs and not inexact:
        raise Refused(
            f"the run cannot be resumed bit for bit on this machine: {'; '.join(differs)}. "
            "Add --inexact to resume it anyway",
            code="training.other-machine",
        )
    can_compile = recorded.compile and (device != "cpu" or compiler_found())
    return compute_with(here, compile=can_compile, torch=torch.__version__, ranks=ranks)


def _other_processor(recorded: Compute, here: Compute, say: Callable[[str], None]) -> list[str]:
    """Return how this processor differs from the recorded one."""
    differs, missing = [], []
    names = {"instructions": "instruction set", "processor": "processor"}
    for field, name in names.items():
        before, now = getattr(recorded, field), getattr(here, field)
        if before is None:
            missing.append(name)
        elif before != now and not (field == "instructions" and here.device == "cuda"):
            differs.append(f"it ran on the {name} {before}, this is {now}")
    if missing:
        say(
            f"the run does not record its {' and '.join(missing)}, so it may not continue bit by "
            "bit on this machine"
        )
    return differs


def step_seconds(model: nn.Module, batch: Batch, best: float | None = None) -> float:
    """Return the seconds of one forward and backward pass, the best of a few.

    Args:
        best: seconds of the best candidate so far; a much slower candidate is timed only once.
    """
    times = []
    for _ in range(1 + STEPS_TIMED):
        start = time.perf_counter()
        model(batch).mean().backward()
        if batch.tokens.is_cuda:
            torch.cuda.synchronize()
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


def slowdown_in_bfloat16() -> float:
    """Return how many times longer a CPU multiplies two matrices in bfloat16 than in float32.

    Without instructions for bfloat16 40 to 100 times: a step would take many seconds.
    """
    times = {}
    for name, dtype in DTYPES.items():
        matrix = torch.ones(PRODUCT_SIZE, PRODUCT_SIZE, dtype=dtype)
        times[name] = _fastest_of_three(partial(torch.mm, matrix, matrix))
    return times["bfloat16"] / times["float32"]


def _muon_dtype(model: TokenModel, dtypes: tuple[str, ...]) -> str:
    """Return the one of `dtypes` in which Muon's orthogonalisation of this model is faster."""
    matrices = [part.value for part in model.muon_parts()]
    if not matrices or len(dtypes) == 1:
        return "float32"
    largest = max(matrices, key=lambda matrix: matrix.numel())
    stack = torch.randn(2, *largest.shape, device=largest.device)
    times = {
        name: _fastest_of_three(partial(orthogonalise, stack, DTYPES[name])) for name in dtypes
    }
    return min(times, key=times.__getitem__)


def _fastest_of_three(work: Callable[[], Tensor]) -> float:
    """Return the seconds that the fastest of three calls takes."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        if work().is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)
