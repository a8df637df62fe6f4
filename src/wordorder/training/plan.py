"""What a run is going to take, said before its first step: size, memory, epochs, time.

The memory is an estimate from shapes, made before anything large is allocated, so that
a run that cannot fit is refused with a way to make it fit, not killed by the system.
"""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from wordorder.errors import Failed
from wordorder.model import ModelConfig, TokenModel
from wordorder.settings import from_record
from wordorder.training.compute import Compute
from wordorder.training.config import MOST_ACCUMULATED, TrainConfig, budget_seconds
from wordorder.training.size import WORTHWHILE_PASSES
from wordorder.training.training_data import TrainingData, held_out_rows

MiB = 1 << 20
# A model of any size has learnt little more than which words are frequent by then.
FEWEST_STEPS = 200
NANO_PARAMETERS = 1.5e6  # about what --preset nano has
INTERPRETER_BYTES = 400 * MiB  # Python, torch and its kernels, before any tensor


@dataclass(frozen=True)
class Timing:
    """What was measured and asked of a run's time; recorded, as resuming needs it.

    Args:
        step_seconds: of one step, measured; 0: not known.
        budget_seconds: for the steps and what is between them; None: the steps were asked for.
        thread_numbers: the numbers of threads to choose from while training; none: fixed.
    """

    step_seconds: float = 0.0
    budget_seconds: float | None = None
    thread_numbers: tuple[int, ...] = ()

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Timing:
        """Return what a recorded plan says; runs recorded before have fixed steps and threads."""
        known = {each.name: values[each.name] for each in fields(cls) if each.name in values}
        return from_record(cls, known, "plan")


@dataclass(frozen=True)
class Plan:
    """The facts of a run before its first step.

    Args:
        steps: optimizer steps in all; an estimate where `open_ended`.
        tokens_per_step: tokens that one step reads.
        epochs: how often the training text is gone through.
        peak_bytes: the most memory it should take, estimated from shapes.
        seconds: what the steps should take, from those of the warm-up; None: not measured.
        timing: what was measured and asked of its time.
    """

    config: TrainConfig
    compute: Compute
    data: dict[str, Any]
    parameters: dict[str, int]
    steps: int
    tokens_per_step: int
    epochs: float
    peak_bytes: int
    seconds: float | None
    timing: Timing = Timing()

    @property
    def open_ended(self) -> bool:
        """Whether the end is decided while training: a timed run whose rate falls at the end."""
        timed = self.timing.budget_seconds is not None
        return timed and self.config.schedule == "warmup-stable-decay"

    def rows(self) -> list[tuple[str, str]]:
        """Return the plan as (what, value) lines for people."""
        data, model, counts = self.data, self.config.model, self.parameters
        adds = f"{counts['position']:,}" if counts["position"] else "none"
        fitted_on = f", {data['fitted_on']}" if data["fitted_on"] else ""
        compute, compiled = self.compute, "compiled" if self.compute.compile else "eager"
        rows = [
            (
                "data",
                f"{data['name']}: {data['documents']:,} documents, "
                f"{data['training_tokens']:,} tokens to train on, "
                f"{data['validation_tokens']:,} to validate",
            ),
            *held_out_rows(data),
            ("tokenizer", f"{data['tokenizer']} of {model.vocabulary_size:,} tokens{fitted_on}"),
            (
                "model",
                f"{model.kind}, {counts['total']:,} parameters: {model.layers} layers of "
                f"width {model.width}, context {model.trained_length}",
            ),
            ("position", f"{model.position}, which adds {adds} of the parameters"),
            (
                "steps",
                f"{self._steps()} of {self.tokens_per_step:,} tokens: the text is read "
                f"{self.epochs:.1f} times",
            ),
            ("memory", f"about {readable_bytes(self.peak_bytes)}"),
            (
                "machine",
                f"{compute.device}, {compute.threads} threads, {compute.dtype}, "
                f"{compute.kernel} attention, {compiled} ({compute.reason})",
            ),
        ]
        if model.kind == "gru":
            rows[-4] = ("position", "none: a GRU reads in order")
        if self.seconds is not None:
            rows.append(("time", self._time()))
        return rows

    def _steps(self) -> str:
        return f"about {self.steps:,}" if self.timing.budget_seconds else f"{self.steps:,}"

    def _time(self) -> str:
        if self.open_ended:
            return f"{self._asked()} in all, and the final validation: the end follows the clock"
        about = f"about {readable_seconds(self.seconds or 0.0)}"
        if self.timing.budget_seconds is None:
            return about
        return f"{about}: with a cosine the end is planned now, and drifts if the machine changes"

    def _asked(self) -> str:
        return readable_seconds(budget_seconds(self.config))

    def warnings(self) -> list[str]:
        """Return what is likely to go wrong, and what to do about it, a line each."""
        lines, budget = [], self.timing.budget_seconds
        if budget is not None and self.steps < FEWEST_STEPS:
            minutes = math.ceil(2 * FEWEST_STEPS * max(self.timing.step_seconds, 0.01) / 60)
            smaller = "--preset nano, " if self.parameters["total"] > NANO_PARAMETERS else ""
            fit = "1 step fits" if self.steps == 1 else f"{self.steps} steps fit"
            lines.append(
                f"only {fit} into {self._asked()}: too few for a model to learn anything; use "
                f"{smaller}--time {minutes}m, or a quieter machine"
            )
        if self.epochs > WORTHWHILE_PASSES:
            lines.append(
                f"the text will be read {self.epochs:.1f} times; beyond about "
                f"{WORTHWHILE_PASSES:.0f} times a model learns it by heart (Muennighoff et al. "
                "2023): use more --data, fewer --steps or less --time, a smaller model, or more "
                "--dropout"
            )
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON holds them."""
        names = ("steps", "tokens_per_step", "epochs", "peak_bytes", "seconds")
        return {
            "parameters": self.parameters,
            **{name: getattr(self, name) for name in names},
            **asdict(self.timing),
        }


def plan_of(
    config: TrainConfig,
    compute: Compute,
    training_data: TrainingData,
    model: TokenModel,
    steps: int,
    seconds: float | None,
    timing: Timing | None = None,
) -> Plan:
    """Return the plan of a run."""
    epochs = training_data.batches(config).epoch(steps * config.accumulate)
    return Plan(
        config=config,
        compute=compute,
        data=training_data.facts,
        parameters=model.parameter_counts(),
        steps=steps,
        tokens_per_step=tokens_per_step(config),
        epochs=epochs,
        peak_bytes=peak_bytes(config, model),
        seconds=seconds,
        timing=timing or Timing(),
    )


def tokens_per_step(config: TrainConfig) -> int:
    """Return how many tokens one optimizer step reads."""
    return config.batch_size * config.accumulate * config.model.trained_length


def peak_bytes(config: TrainConfig, model: TokenModel) -> int:
    """Return the memory that training takes at most, in bytes, estimated from shapes.

    Weights, gradients and two moments in float32, and the best weights so far; what the
    backward pass needs of each layer; the scores of plain attention; logits, their float32 copy
    and two gradients.
    """
    batch = config.batch_size * _row_bytes(model.config, model.config.trained_length)
    return _bytes_without_batch(config, model) + batch


def _bytes_without_batch(config: TrainConfig, model: TokenModel) -> int:
    copies = 5 if config.keep == "best" and config.development_fraction else 4
    return INTERPRETER_BYTES + 4 * copies * sum(p.numel() for p in model.parameters())


def _row_bytes(shape: ModelConfig, length: int) -> int:
    """Return what one sequence of a batch takes."""
    shape = replace(shape, trained_length=length)
    return length * (shape.layers * _layer_bytes(shape) + shape.vocabulary_size * 4 * 3)


def _layer_bytes(shape: ModelConfig) -> int:
    """Return what one token leaves for the backward pass of one layer, in float32."""
    if shape.kind == "gru":
        return 4 * 12 * shape.width
    inner = shape.heads * shape.head_dim
    scores = 3 * shape.heads * shape.trained_length
    gates = 4 if shape.feed_forward == "swiglu" else 2
    return 4 * (6 * shape.width + 9 * inner + gates * shape.feed_forward_width + scores)


def check_memory(config: TrainConfig, model: TokenModel, device: str) -> None:
    """Refuse a run that cannot fit, before it allocates anything large.

    Raises:
        Failed: with the estimate, what there is, and two options that would make it fit.
    """
    there_is = memory_bytes(device)
    needed = peak_bytes(config, model)
    if there_is is not None and needed > there_is:
        raise Failed(too_large(config, model, there_is))


def too_large(config: TrainConfig, model: TokenModel, there_is: int | None = None) -> str:
    """Return what to say where memory does not do: the estimate, and what would fit."""
    needed = peak_bytes(config, model)
    batch, length = config.batch_size, config.model.trained_length
    held = f", and {readable_bytes(there_is)} are there" if there_is is not None else ""
    room = 0.7 * (there_is or needed) - _bytes_without_batch(config, model)
    ways = []
    if rows := max(0, int(min(batch, room / _row_bytes(model.config, length)))):
        accumulate = -(-batch * config.accumulate // rows)
        same = f" --accumulate {accumulate}" if accumulate <= MOST_ACCUMULATED else ""
        ways.append(f"--batch-size {rows}{same}")
    shorter = length
    while shorter and batch * _row_bytes(model.config, shorter) > room:
        shorter = shorter * 3 // 4
    if shorter:
        ways.append(f"--trained-length {shorter}")
    ways = ways or ["fewer --layers, a smaller --width, or --preset nano"]
    return (
        f"out of memory: a model of width {model.config.width} and {model.config.layers} layers "
        f"with batches of {batch} x {length} tokens needs about {readable_bytes(needed)}{held}: "
        f"use {', or '.join(ways)}"
    )


def memory_bytes(device: str) -> int | None:
    """Return how much memory this process may take, None where that is not to be known."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    limits = [_read_number(Path("/sys/fs/cgroup/memory.max"))]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    known = [limit for limit in limits if limit]
    return min(known) if known else None


def _read_number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # not Linux, or "max"
        return None


def readable_bytes(count: int) -> str:
    """Return a size as people read it."""
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / MiB:.0f} MiB"


def readable_seconds(seconds: float) -> str:
    """Return a length of time as people read it."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {left:02d} s"
