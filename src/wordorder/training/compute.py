"""What this machine does fast, found by a moment's measurement and never by its name.

Machines differ a hundredfold: on CPUs with AMX or AVX-512 bfloat16 units bfloat16 is
three to eight times faster than float32, on others hundreds of times slower; PyTorch's
fused attention has a slow bfloat16 backward on CPUs, but wins at long contexts. So a few
real steps of each candidate decide, and the choice is recorded with the run, with what the
last bits of a number depend on: instruction set, processor, torch, threads.
"""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from wordorder.batch import Batch
from wordorder.errors import BadInput, Refused
from wordorder.model import TokenModel
from wordorder.settings import Device, Threads, from_record
from wordorder.training.config import TrainConfig
from wordorder.training.optimizers import orthogonalise
from wordorder.training.threads import fastest

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
KERNELS = ("plain", "fused")
STEPS_TIMED = 3
SECONDS_ENOUGH = 2.0  # of one candidate: a step this slow is timed once
# A candidate is given up when its first step, which warms up, or its second takes this many
# times the best one's step.
HOPELESS, BEATEN = 4.0, 1.2
# Compiling costs 10 to 35 s on the machines seen and saves a twentieth to a quarter of a step.
SECONDS_WORTH_COMPILING = 300.0


@dataclass(frozen=True)
class Compute:
    """How a run computes: recorded with it, because other choices give other last bits.

    Args:
        instructions: the CPU instruction set that PyTorch uses; None: not recorded.
        processor: the model of the CPU, or of the GPU on cuda; None: not recorded.
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

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Compute:
        """Return what `to_dict` recorded.

        Raises:
            BadInput: a field or a value that no machine has.
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
    """Return the machine with the instruction set and the processor of this one."""
    processor = processor_name(compute.device)
    return compute_with(compute, instructions=instruction_set(), processor=processor)


def pick_device(name: str) -> str:
    """Return the device that `auto` means here, or the named one where it exists."""
    mps = torch.backends.mps.is_available()
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    kind, _, number = name.partition(":")
    there = {"cpu": 1, "mps": int(mps)}.get(kind, 0)
    if kind == "cuda" and torch.cuda.is_available():
        there = torch.cuda.device_count()
    if int(number or 0) >= there:
        raise BadInput(f"--device {name}: PyTorch finds none here; use --device auto or cpu")
    return name


def compiler_found() -> bool:
    """Return whether torch.compile finds the C++ compiler that it needs on a CPU."""
    named = os.environ.get("CXX")
    return any(shutil.which(c) for c in ([named] if named else ["c++", "g++", "clang++"]))


def measure(
    config: TrainConfig,
    model: TokenModel,
    batch: Batch,
    worth_seconds: Callable[[float], float],
    threads: Sequence[int] = (),
) -> Compute:
    """Return the fastest way to run these steps here, and compute with its threads.

    Args:
        model: any weights; they are not changed, only given gradients, which are dropped.
        batch: one real batch, on the model's device.
        worth_seconds: from the seconds of one step to those of the whole run, which decides
            whether compiling would be repaid.
        threads: the numbers of threads to choose from, ascending; none: as many as are set.
    """
    device = next(model.parameters()).device.type
    if config.kernel == "flex" and device != "cuda":
        raise BadInput(f"--kernel flex is for GPUs of NVIDIA and AMD: on {device} use auto")
    if threads:
        # First, or beside another process every candidate below would be timed with threads that
        # wait. In float32, which no machine is slow at.
        first = Compute(device, torch.get_num_threads())
        first = compute_with(first, dtype=_choices(config.dtype, ("float32",))[0])
        use(model, first)
        _threads(first, model, batch, threads, 0.0)
    compute = fingerprinted(Compute(device, torch.get_num_threads()))
    took, dtype, kernel, shown = _dtype_and_kernel(config, model, batch, compute)
    compute = compute_with(compute, dtype=dtype, kernel=kernel)
    if threads:
        use(model, compute)
        compute, took, seen = _threads(compute, model, batch, threads, took)
        shown += seen
    compute = compute_with(compute, muon_dtype=_muon_dtype(model))
    compiled, why = _compile(config, device, worth_seconds(took))
    use(model, compute)
    return compute_with(compute, compile=compiled, reason=f"measured: {shown}; {why}")


def _dtype_and_kernel(
    config: TrainConfig, model: TokenModel, batch: Batch, compute: Compute
) -> tuple[float, str, str, str]:
    """Return the seconds of a step, the dtype and the kernel that are best, and all timings."""
    best, timings = None, {}
    kernels = (*KERNELS, "flex") if compute.device == "cuda" else KERNELS
    if config.model.kind == "gru":
        kernels = ("plain",)
    for dtype in _choices(config.dtype, ("bfloat16", "float32")):
        for kernel in _choices(config.kernel, kernels):
            use(model, compute_with(compute, dtype=dtype, kernel=kernel))
            fastest = best[0] if best else None
            try:
                took = step_seconds(model, batch, fastest)
            except Exception as error:
                if kernel != "flex":
                    raise
                if config.kernel == "flex":
                    said = " ".join(str(error).split())[:200]
                    raise BadInput(
                        f"--kernel flex: PyTorch makes no kernel of {config.model.position} "
                        f"({said}): use auto"
                    ) from error
                timings[f"{dtype} {kernel}"] = "cannot"  # what PyTorch's compiler does not take
                continue
            timings[f"{dtype} {kernel}"] = f"{1e3 * took:.0f} ms"
            if best is None or took < best[0]:
                best = (took, dtype, kernel)
    took, dtype, kernel = best
    shown = ", ".join(f"{name} {how}" for name, how in timings.items())
    return took, dtype, kernel, shown


def _threads(
    compute: Compute, model: TokenModel, batch: Batch, numbers: Sequence[int], took: float
) -> tuple[Compute, float, str]:
    """Return the machine with the best number of threads, the seconds of a step, and a note."""

    def step() -> None:
        model(batch).mean().backward()
        model.zero_grad(set_to_none=True)

    best, seconds = fastest(step, numbers, compute.threads)
    torch.set_num_threads(best)
    shown = [f", {n} threads {1e3 * s:.0f} ms" for n, s in seconds.items()]
    waiting = [n for n in numbers if n not in (seconds or {best: took})]
    shown += [f", {n} threads wait for a core" for n in waiting]
    return compute_with(compute, threads=best), seconds.get(best, took), "".join(shown)


def compute_with(compute: Compute, **changes: Any) -> Compute:
    """Return the machine with some choices changed."""
    return Compute(**{**asdict(compute), **changes})


def use(model: TokenModel, compute: Compute) -> None:
    """Set a model to compute as the machine was found to do best."""
    model.compute_dtype = DTYPES[compute.dtype]
    model.attention_kernel = compute.kernel


def compiled(model: TokenModel, compute: Compute) -> nn.Module:
    """Return the model to train with: itself, or compiled where that was chosen."""
    return torch.compile(model) if compute.compile else model


def check_same(
    recorded: Compute,
    config: TrainConfig,
    inexact: bool,
    say: Callable[[str], None] = lambda line: None,
) -> Compute:
    """Return the machine to resume on: as recorded, or the nearest thing where asked.

    Args:
        say: told what was not recorded and so cannot be compared.

    Raises:
        Refused: where this machine cannot do it as recorded and `inexact` is not set.
    """
    differs = []
    device = recorded.device
    if device == "cuda" and not torch.cuda.is_available():
        differs.append("it ran on cuda, which is not here")
        device = "cpu"
    if recorded.compile and device == "cpu" and not compiler_found():
        differs.append("it was compiled, and there is no C++ compiler here")
    if recorded.torch != torch.__version__:
        differs.append(f"it ran on torch {recorded.torch}, this is {torch.__version__}")
    if device == "cpu" and recorded.threads > (os.cpu_count() or 1):
        differs.append(f"it used {recorded.threads} threads of {os.cpu_count()} cores here")
    here = fingerprinted(compute_with(recorded, device=device))
    differs += _other_processor(recorded, here, say)
    if differs and not inexact:
        raise Refused(
            f"this machine cannot go on to the bit: {'; '.join(differs)}. "
            "Add --inexact to go on all the same"
        )
    can_compile = recorded.compile and (device != "cpu" or compiler_found())
    return compute_with(here, compile=can_compile, torch=torch.__version__)


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
            f"the run does not record its {' and '.join(missing)}: whether it goes on to the bit "
            "on this machine is unknown"
        )
    return differs


def step_seconds(model: nn.Module, batch: Batch, best: float | None = None) -> float:
    """Return the seconds of one forward and backward, the best of a few."""
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


def _choices(asked: str, all_of_them: tuple[str, ...]) -> tuple[str, ...]:
    return all_of_them if asked == "auto" else (asked,)


def _compile(config: TrainConfig, device: str, run_seconds: float) -> tuple[bool, str]:
    if config.compile == "no" or config.model.kind == "gru":
        return False, "eager"
    if device == "cpu" and not compiler_found():
        if config.compile == "yes":
            raise BadInput("--compile yes needs a C++ compiler: install g++, or set CXX")
        return False, "eager: no C++ compiler found"
    if config.compile == "yes":
        return True, "compiled, as asked"
    if run_seconds < SECONDS_WORTH_COMPILING:
        return False, "eager: the run is too short to repay compiling"
    return True, "compiled: the run is long enough to repay it"


def _muon_dtype(model: TokenModel) -> str:
    """Return the dtype in which this machine orthogonalises the model's matrices faster."""
    matrices = [part.value for part in model.muon_parts()]
    if not matrices:
        return "float32"
    largest = max(matrices, key=lambda matrix: matrix.numel())
    stack = torch.randn(2, *largest.shape, device=largest.device)
    times = {}
    for name, dtype in DTYPES.items():
        runs = []
        for _ in range(3):
            start = time.perf_counter()
            orthogonalise(stack, dtype)
            if stack.is_cuda:
                torch.cuda.synchronize()
            runs.append(time.perf_counter() - start)
        times[name] = min(runs)
    return min(times, key=times.__getitem__)
