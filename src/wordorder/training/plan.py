"""The plan of a run, shown before its first step: size, memory, epochs and time.

Memory is estimated from shapes before anything large is allocated, so that a run that does not fit
raises an error with settings that fit, instead of being killed by the operating system.
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
from wordorder.model.config import GATED
from wordorder.numerals import counted
from wordorder.settings import from_record
from wordorder.training.compute import Compute
from wordorder.training.config import MOST_ACCUMULATED, TrainConfig, budget_seconds
from wordorder.training.ranks import Ranks
from wordorder.training.size import WORTHWHILE_PASSES
from wordorder.training.training_data import TrainingData, held_out_rows

MiB = 1 << 20
# With fewer steps a model of any size learns little more than word frequencies.
FEWEST_STEPS = 200
NANO_PARAMETERS = 1.5e6  # about what --preset nano has
INTERPRETER_BYTES = 400 * MiB  # Python, torch and its kernels, before any tensor


@dataclass(frozen=True)
class Timing:
    """The time of a run: measured, and requested; recorded for resuming.

    Args:
        step_seconds: measured seconds of one step; 0: unknown.
        budget_seconds: seconds for the steps and the work between them; None: the number of steps
            is fixed.
        thread_numbers: numbers of threads to choose from during training; empty: fixed.
    """

    step_seconds: float = 0.0
    budget_seconds: float | None = None
    thread_numbers: tuple[int, ...] = ()

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Timing:
        """Return the timing of a recorded plan; old records have fixed steps and threads."""
        known = {f.name: values[f.name] for f in fields(cls) if f.name in values}
        return from_record(cls, known, "plan")


@dataclass(frozen=True)
class Plan:
    """The plan of a run.

    Args:
        config: the configuration.
        compute: how the run computes.
        data: `TrainingData.facts`.
        parameters: parameter counts by name.
        steps: total number of optimizer steps; an estimate if `open_ended`.
        tokens_per_step: tokens per optimizer step.
        epochs: passes over the training text.
        peak_bytes: estimated peak memory.
        seconds: expected time of all steps; None: not measured.
        timing: measured and requested time.
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
        """Whether the end is decided during training: a timed run with warmup-stable-decay."""
        timed = self.timing.budget_seconds is not None
        return timed and self.config.schedule == "warmup-stable-decay"

    def rows(self) -> list[tuple[str, str]]:
        """Return the plan as (name, value) rows."""
        data, model, counts = self.data, self.config.model, self.parameters
        active = f", {counts['active']:,} active per token" if "active" in counts else ""
        adds = f"{counts['position']:,}" if counts["position"] else "none"
        fitted_on = f", {data['fitted_on']}" if data["fitted_on"] else ""
        compute, compiled = self.compute, "compiled" if self.compute.compile else "eager"
        ranks, each = (
            (f"{compute.ranks} ranks, each ", " a rank") if compute.ranks > 1 else ("", "")
        )
        rows = [
            (
                "data",
                f"{data['name']}: {counted(data['documents'], 'document')}, "
                f"{data['training_tokens']:,} tokens to train on, "
                f"{data['validation_tokens']:,} to validate",
            ),
            *held_out_rows(data),
            ("tokenizer", f"{data['tokenizer']} of {model.vocabulary_size:,} tokens{fitted_on}"),
            (
                "model",
                f"{model.kind}, {counts['total']:,} parameters{active}: "
                f"{counted(model.layers, 'layer')} of width {model.width}, "
                f"context {model.trained_length}",
            ),
            ("position", f"{model.position}, which adds {adds} of the parameters"),
            (
                "steps",
                f"{self._steps()} of {self.tokens_per_step:,} tokens: the text is read "
                f"{f'{self.epochs:.1f}' if self.epochs >= 0.05 else 'less than 0.1'} times",
            ),
            ("memory", f"about {readable_bytes(self.peak_bytes)}{each}"),
            (
                "machine",
                f"{ranks}{compute.device}, {counted(compute.threads, 'thread')}, {compute.dtype}, "
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
            return f"{self._budget()} in all, then the final validation: the clock sets the end"
        about = f"about {readable_seconds(self.seconds or 0.0)}"
        if self.timing.budget_seconds is None:
            return about
        return f"{about}: a cosine fixes the steps now, so the end shifts if the speed changes"

    def _budget(self) -> str:
        return readable_seconds(budget_seconds(self.config))

    def warnings(self) -> list[str]:
        """Return warnings about the plan, each with a remedy."""
        lines, budget = [], self.timing.budget_seconds
        if budget is not None and self.steps < FEWEST_STEPS:
            minutes = math.ceil(2 * FEWEST_STEPS * max(self.timing.step_seconds, 0.01) / 60)
            smaller = "--preset nano, " if self.parameters["total"] > NANO_PARAMETERS else ""
            fit = "1 step fits" if self.steps == 1 else f"{self.steps} steps fit"
            lines.append(
                f"only {fit} into {self._budget()}, too few for a model to learn anything: use "
                f"{smaller}--time {minutes}m, or a less busy machine"
            )
        if self.epochs > WORTHWHILE_PASSES:
            lines.append(
                f"the text will be read {self.epochs:.1f} times; beyond about "
                f"{WORTHWHILE_PASSES:.0f} times a model memorises it (Muennighoff et al. 2023): "
                "use more --data, fewer --steps or less --time, a smaller model, or more --dropout"
            )
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return the figures of the plan as JSON."""
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
    """Return the plan of a run; see `Plan` for the arguments."""
    epochs = training_data.batches(config).epoch(steps * config.accumulate)
    return Plan(
        config=config,
        compute=compute,
        data=training_data.facts,
        parameters=model.parameter_counts(),
        steps=steps,
        tokens_per_step=config.tokens_per_step,
        epochs=epochs,
        peak_bytes=peak_bytes(config, model, compute.ranks, compute.device),
        seconds=seconds,
        timing=timing or Timing(),
    )


def peak_bytes(config: TrainConfig, model: TokenModel, ranks: int = 1, device: str = "cpu") -> int:
    """Return the estimated peak memory of training in bytes, of one rank if there are several.

    It is the sum of weights, gradients, two moments, the best and the averaged weights in float32,
    of the activations of each layer with the scores of plain attention, and of the logits with
    their float32 copy and two gradients; on a CPU also of what is copied to write a checkpoint.
    """
    batch = config.batch_size // ranks * _row_bytes(config, model.config)
    return _bytes_without_batch(config, model, device) + batch


def _bytes_without_batch(config: TrainConfig, model: TokenModel, device: str) -> int:
    averages = int(config.average != "none")
    copies = averages + (5 if config.keep == "best" and config.has_development else 4)
    if device == "cpu":  # weights, moments and averages while a checkpoint is written
        copies += 3 + averages
    return INTERPRETER_BYTES + 4 * copies * sum(p.numel() for p in model.parameters())


def _row_bytes(config: TrainConfig, shape: ModelConfig, length: int | None = None) -> int:
    """Return the bytes of activations for one sequence.

    Args:
        length: its tokens; None: those of the model.
    """
    shape = replace(shape, trained_length=length or shape.trained_length)
    layers = shape.layers * _layer_bytes(shape)
    if config.recompute:  # the input of each layer, and all of one layer
        layers = shape.layers * 4 * shape.width + _layer_bytes(shape)
    return shape.trained_length * (layers + shape.vocabulary_size * 4 * 3)


def _layer_bytes(shape: ModelConfig) -> int:
    """Return the bytes that one layer saves per token for the backward pass, in float32."""
    if shape.kind == "gru":
        return 4 * 12 * shape.width
    inner = shape.heads * max(shape.head_dim + shape.rotary_head_dim, shape.value_head_dim)
    scores = 3 * shape.heads * shape.trained_length
    gates = 4 if shape.feed_forward in GATED else 2
    return 4 * (6 * shape.width + 9 * inner + gates * _hidden_width(shape) + scores)


def _hidden_width(shape: ModelConfig) -> int:
    """Return the width of all hidden layers that compute a token in one layer.

    Each active expert also copies its input and output.
    """
    if not shape.experts:
        return shape.feed_forward_width
    active = shape.active_experts
    return (active + shape.shared_experts) * shape.expert_width + active * shape.width


def check_memory(config: TrainConfig, model: TokenModel, device: str, ranks: Ranks) -> None:
    """Check that a run fits into memory, before it allocates anything large.

    Raises:
        Failed: the estimate exceeds the available memory.
    """
    available = memory_bytes(device)
    if available is not None and device != "cuda":
        available //= ranks.on_this_machine
    needed = peak_bytes(config, model, ranks.count, device)
    if available is not None and needed > available:
        raise out_of_memory(config, model, available, device, ranks.count)


def out_of_memory(
    config: TrainConfig,
    model: TokenModel,
    available: int | None = None,
    device: str = "cpu",
    ranks: int = 1,
) -> Failed:
    """Return the error for a run that does not fit, with the estimate and settings that fit.

    Args:
        available: bytes of memory available to this rank; None: unknown.
        ranks: number of processes that share a batch.
    """
    needed = peak_bytes(config, model, ranks, device)
    batch, length = config.batch_size // ranks, config.model.trained_length
    each = f"{batch} on each of {ranks} ranks" if ranks > 1 else f"{batch}"
    limit = f", but only {readable_bytes(available)} is available" if available is not None else ""
    room = 0.7 * (available or needed) - _bytes_without_batch(config, model, device)
    remedies = []
    repeated = replace(config, recompute=model.config.kind == "transformer")
    if not config.recompute and batch * _row_bytes(repeated, model.config) <= room:
        remedies.append("--recompute")
    if rows := max(0, int(min(batch, room / _row_bytes(config, model.config)))):
        accumulate = -(-batch * config.accumulate // rows)
        same = f" --accumulate {accumulate}" if accumulate <= MOST_ACCUMULATED else ""
        remedies.append(f"--batch-size {rows * ranks}{same}")
    shorter = length
    while shorter and batch * _row_bytes(config, model.config, shorter) > room:
        shorter = shorter * 3 // 4
    if shorter:
        remedies.append(f"--trained-length {shorter}")
    remedies = remedies or ["fewer --layers, a smaller --width, or --preset nano"]
    return Failed(
        f"out of memory: a model of width {model.config.width} and {model.config.layers} layers "
        f"with batches of {each} x {length} tokens needs about {readable_bytes(needed)}{limit}: "
        f"use {', or '.join(remedies)}",
        code="training.out-of-memory",
    )


def memory_bytes(device: str) -> int | None:
    """Return the memory available to this process in bytes; None if unknown."""
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
    """Return a size in MiB or GiB as text."""
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / MiB:.0f} MiB"


def readable_seconds(seconds: float) -> str:
    """Return a duration as text, such as "45 s", "3 min 05 s" or "1 h 20 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {left:02d} s"
