"""How a run computes: device, dtype, attention kernel, threads and compilation.

The choice is recorded with the run, together with everything else that affects the last bits of a
result: instruction set, processor, torch version and number of threads.
"""

from __future__ import annotations

import os
import platform
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from wordorder.errors import BadInput, Refused
from wordorder.model import TokenModel
from wordorder.numerals import counted
from wordorder.settings import Device, Positive, Threads, from_record
from wordorder.training.config import TrainConfig

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# The size of the square matrices that are multiplied to compare bfloat16 with float32. If bfloat16
# is at least HOPELESS times slower, it is not even timed in a training step.
PRODUCT_SIZE, HOPELESS = 256, 4.0


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
    if name == "auto":
        return next(kind for kind in ("cuda", "mps", "cpu") if is_available(kind))
    if not is_available(name):
        raise BadInput(
            f"--device {name} is not available: PyTorch finds no such device; use --device auto "
            "or cpu",
            code="training.no-device",
        )
    return name


def is_available(device: str) -> bool:
    """Return whether PyTorch finds a device, such as cpu, mps, cuda or cuda:1."""
    kind, _, number = device.partition(":")
    if kind == "cuda":
        return torch.cuda.is_available() and int(number or 0) < torch.cuda.device_count()
    return kind == "cpu" or torch.backends.mps.is_available()


def compiler_found() -> bool:
    """Return whether the C++ compiler that torch.compile needs on a CPU is installed."""
    named = os.environ.get("CXX")
    return any(shutil.which(c) for c in ([named] if named else ["c++", "g++", "clang++"]))


def compute_with(compute: Compute, **changes: Any) -> Compute:
    """Return `compute` with some fields changed."""
    return Compute(**{**asdict(compute), **changes})


def use(model: TokenModel, compute: Compute) -> None:
    """Set a model's compute dtype and attention kernel."""
    model.compute_dtype = DTYPES[compute.dtype]
    model.attention_kernel = compute.kernel


def compiled(model: TokenModel, compute: Compute) -> nn.Module:
    """Return the model, compiled if that was chosen."""
    if not compute.compile:
        return model
    # After Ctrl-C while it compiles, PyTorch would warn with twenty lines of code.
    warnings.filterwarnings("ignore", message="Error detected in ")
    return cast(nn.Module, torch.compile(model))


def check_same(
    recorded: Compute,
    config: TrainConfig,
    inexact: bool,
    say: Callable[[str], None] = lambda line: None,
    ranks: int = 1,
) -> Compute:
    """Return how to compute a resumed run: as recorded, or as near as possible if `inexact`.

    The number of ranks may change: the batches stay the same, and losses agree up to rounding.

    Args:
        say: called with a message about facts that an old run did not record.
        ranks: number of processes now.

    Raises:
        Refused: this machine cannot compute as recorded, and `inexact` is not set.
    """
    differs = []
    device = recorded.device
    if not is_available(device):
        differs.append(f"it ran on {device}, which is not available")
        device = "cpu"
    if recorded.compile and device == "cpu" and not compiler_found():
        differs.append("it was compiled, but there is no C++ compiler")
    if recorded.torch != torch.__version__:
        differs.append(f"it ran on torch {recorded.torch}, this is {torch.__version__}")
    threads, most = recorded.threads, os.cpu_count() or 1
    if device == "cpu" and ranks != recorded.ranks:  # as many in all, where this machine has them
        threads = max(1, min(threads * recorded.ranks // ranks, most))
    elif device == "cpu" and threads > most:
        cores = counted(most, "core")
        differs.append(f"it used {threads} threads, and this machine has {cores}")
        threads = most
    here = fingerprinted(compute_with(recorded, device=device, threads=threads))
    others = _other_processor(recorded, here, say)
    differs += others
    if differs and not inexact:
        raise Refused(
            f"the run cannot be resumed bit for bit on this machine: {'; '.join(differs)}. "
            "Add --inexact to resume it anyway",
            code="training.other-machine",
        )
    if others:
        warn_of_slow_dtype(here, say)
    can_compile = recorded.compile and (device != "cpu" or compiler_found())
    moved = device != recorded.device
    # FlexAttention has no gradients on a CPU.
    kernel = "plain" if moved and recorded.kernel == "flex" else recorded.kernel
    return compute_with(
        here, compile=can_compile, kernel=kernel, torch=torch.__version__, ranks=ranks
    )


def is_of_this_processor(compute: Compute) -> bool:
    """Return whether this is the recorded processor, or no processor was recorded."""
    return not _other_processor(compute, fingerprinted(compute), lambda line: None)


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


def warn_of_slow_dtype(compute: Compute, say: Callable[[str], None]) -> None:
    """Warn if a run that started on another machine continues in a dtype that is slow here."""
    if compute.device == "cpu" and "bfloat16" in (compute.dtype, compute.muon_dtype):
        slower = slowdown_in_bfloat16()
        if slower >= HOPELESS:
            say(
                "this continues in bfloat16, which was fastest on the machine where it started; "
                f"on this machine a matrix product is {slower:.0f} times slower in bfloat16 than "
                "in float32: starting again in another folder is faster"
            )


@cache
def slowdown_in_bfloat16() -> float:
    """Return how many times longer a CPU multiplies two matrices in bfloat16 than in float32.

    A CPU without bfloat16 instructions takes 40 to 100 times longer: a training step would take
    many seconds. The ratio is measured once per process, which takes 0.2 s on such a CPU.
    """
    times = {}
    for name, dtype in DTYPES.items():
        matrix = torch.ones(PRODUCT_SIZE, PRODUCT_SIZE, dtype=dtype)
        times[name] = fastest_of_three(partial(torch.mm, matrix, matrix))
    return times["bfloat16"] / times["float32"]


def fastest_of_three(work: Callable[[], Tensor]) -> float:
    """Return the seconds that the fastest of three calls takes."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        synchronise(work().device)
        times.append(time.perf_counter() - start)
    return min(times)


def synchronise(device: str | torch.device) -> None:
    """Wait until a device has computed everything that was queued on it."""
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.synchronize()
    elif kind == "mps":
        torch.mps.synchronize()
