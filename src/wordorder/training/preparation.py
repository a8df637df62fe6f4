"""What is decided before the first step: how to compute, how many steps, how large a model.

A few real steps are measured. What follows from them is recorded with the run, so that resuming
it measures nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from wordorder.errors import Failed
from wordorder.model import TokenModel, make_model, shape_of
from wordorder.training import loop
from wordorder.training.compute import (
    SECONDS_WORTH_COMPILING,
    Compute,
    compiled,
    measure,
    pick_device,
    step_seconds,
    use,
)
from wordorder.training.config import TrainConfig, budget_seconds
from wordorder.training.display import Display
from wordorder.training.plan import (
    Plan,
    Timing,
    check_memory,
    plan_of,
    tokens_per_step,
    too_large,
)
from wordorder.training.size import as_preset, choose_preset, dropout_for, with_dropout
from wordorder.training.threads import candidates
from wordorder.training.training import (
    Training,
    steps_between_validations,
    validation_tokens,
)
from wordorder.training.training_data import TrainingData

WARM_UP_STEPS, WARM_UP_SECONDS = 3, 2.0
# Measured first where the size is open: what two quiet cores choose, with less time and with more.
LIKELY_PRESETS, SECONDS_FOR_THE_SECOND = ("nano", "mini"), 120.0


@dataclass(frozen=True)
class Preparation:
    """What is decided before the first step: nothing in it changes while the run goes on."""

    config: TrainConfig
    model: TokenModel
    compute: Compute
    forward: nn.Module
    plan: Plan


def prepare(
    config: TrainConfig,
    training_data: TrainingData,
    started: float,
    show: Display,
    *,
    compute: Compute | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> Preparation:
    """Measure how this machine does best and how long a step takes; plan what follows from it.

    The plan is the number of steps, the dropout if it is not set, and the model's sizes if
    `auto_size` is set.

    Args:
        started: when the run began, by `time.perf_counter`.
        machine: how to compute; None measures.
        weights: what to begin with; None: the seed's.

    Raises:
        BadInput: a kernel or device that is not to be had.
        Failed: too little memory.
    """
    timed, transformer = asked_steps(config) is None, config.model.kind == "transformer"
    open_size = config.auto_size and timed and transformer and compute is None and weights is None
    if not open_size:
        return _prepare(config, training_data, started, show, compute, weights)
    compiles = config.compile == "auto" and budget_seconds(config) >= SECONDS_WORTH_COMPILING
    preset = LIKELY_PRESETS[budget_seconds(config) >= SECONDS_FOR_THE_SECOND]
    likely = replace(config, model=as_preset(config.model, preset))
    if compiles:  # not a size that may not be taken
        likely = replace(likely, compile="no")
    prepared = _prepare(likely, training_data, started, show, None, None)
    sized = _sized(config, prepared, training_data, started)
    if compiles or sized.model != likely.model:
        prepared = _prepare(sized, training_data, started, show, None, None)
    return prepared


def _prepare(
    config: TrainConfig,
    training_data: TrainingData,
    started: float,
    show: Display,
    compute: Compute | None,
    weights: Mapping[str, Tensor] | None,
) -> Preparation:
    asked = asked_steps(config)
    device = compute.device if compute else pick_device(config.device)
    if asked:
        config = with_dropout(config, _passes(config, training_data, asked))
    check_memory(config, shape_of(config.model), device)
    model = make_model(config.model)
    with memory_explained(config, model):
        set_weights(model, config.seed, weights)
        model.to(device)
        compute, forward, timing = _measured(config, training_data, model, started, show, compute)
        steps = asked or steps_in(
            config, training_data, timing.budget_seconds or 0.0, timing.step_seconds
        )
        config = with_dropout(config, _passes(config, training_data, steps))
        model.set_dropout(config.model.resolved.dropout)
        set_weights(model, config.seed, weights)
        took = timing.step_seconds * (steps + _validation_steps(config, training_data, steps))
        plan = plan_of(config, compute, training_data, model, steps, took, timing)
    return Preparation(config, model, compute, forward, plan)


def _measured(
    config: TrainConfig,
    training_data: TrainingData,
    model: TokenModel,
    started: float,
    show: Display,
    compute: Compute | None,
) -> tuple[Compute, Callable[..., Tensor], Timing]:
    """Return how to compute, the model to train with, and how long a step takes."""
    asked, budget = asked_steps(config), budget_seconds(config)
    device = next(model.parameters()).device
    batch = training_data.batches(config).at(0).to(device)
    numbers = _thread_numbers(config, device.type) if compute is None else ()
    if compute is None:
        show.say("measuring what this machine does fast")
        compute = measure(
            config,
            model,
            batch,
            lambda step: budget if asked is None else 1.2 * asked * step,
            numbers,
        )
    use(model, compute)
    left = budget - (time.perf_counter() - started)
    if compute.compile:
        if asked is None and config.model.dropout is None:  # changed later, it is compiled again
            rough = steps_in(config, training_data, left, step_seconds(model, batch))
            model.set_dropout(dropout_for(_passes(config, training_data, rough)))
        show.say("compiling, which takes half a minute or so")
    forward = compiled(model, compute)
    at_rest = replace(config, learning_rate=0.0, matrix_learning_rate=0.0)
    trial = Training(at_rest, compute, training_data, model, steps=1000, forward=forward)
    took = _step_seconds(trial, WARM_UP_SECONDS / 4 if asked is None else 0.0)
    left = budget - (time.perf_counter() - started)
    return compute, forward, Timing(took, None if asked else max(0.0, left), numbers)


def _passes(config: TrainConfig, training_data: TrainingData, steps: int) -> float:
    """Return how often the training text is read in so many steps."""
    return training_data.batches(config).epoch(steps * config.accumulate)


def _sized(
    config: TrainConfig, prepared: Preparation, training_data: TrainingData, started: float
) -> TrainConfig:
    """Return the configuration with the sizes that the text and the time left deserve."""
    measured = prepared.config
    name = choose_preset(
        measured,
        text_tokens=len(training_data.training),
        seconds=budget_seconds(config) - (time.perf_counter() - started),
        seconds_per_token=prepared.plan.timing.step_seconds / tokens_per_step(measured),
    )
    return replace(config, model=as_preset(config.model, name))


def _thread_numbers(config: TrainConfig, device: str) -> tuple[int, ...]:
    """Return the numbers of threads to choose from; none where there is no choice."""
    if config.threads or device != "cpu":
        return ()
    numbers = candidates(torch.get_num_threads())
    return numbers if len(numbers) > 1 else ()


def asked_steps(config: TrainConfig) -> int | None:
    """Return the number of steps where it was asked for, in steps or in tokens."""
    if config.tokens is not None:
        return -(-config.tokens // tokens_per_step(config))
    return config.steps


def _step_seconds(training: Training, least_seconds: float) -> float:
    """Return what a real step takes; the first, which may compile, is not counted.

    Args:
        least_seconds: time steps for so long, where there are fast ones; how many steps a
            run takes depends on it where a length of time was asked for.
    """
    training.step()
    start, times = time.perf_counter(), []
    while len(times) < WARM_UP_STEPS or time.perf_counter() - start < least_seconds:
        before = time.perf_counter()
        training.step()
        times.append(time.perf_counter() - before)
        if time.perf_counter() - start > WARM_UP_SECONDS:
            break
    return sum(times) / len(times)


def _validation_steps(config: TrainConfig, training_data: TrainingData, steps: float) -> float:
    """Return how many steps' time all validations take; a forward pass is a third of a step."""
    there = len(training_data.validation)
    number = steps // steps_between_validations(config, int(steps))
    small = min(there, validation_tokens(config)) * number
    tokens = small + min(there, loop.FINAL_VALIDATION_TOKENS)
    return tokens / tokens_per_step(config) / 3


def steps_in(
    config: TrainConfig, training_data: TrainingData, seconds_left: float, step_seconds: float
) -> int:
    """Return how many steps fit into some seconds, validations counted; at least one."""
    steps = max(1.0, seconds_left / step_seconds)
    return max(1, round(steps - _validation_steps(config, training_data, steps)))


def set_weights(model: TokenModel, seed: int, weights: Mapping[str, Tensor] | None) -> None:
    """Begin with these weights, or with those of a seed."""
    model.initialise(seed)
    if weights is not None:
        model.load_state_dict(weights)


@contextmanager
def memory_explained(config: TrainConfig, model: TokenModel) -> Iterator[None]:
    """Turn what PyTorch says when memory runs out into what to do about it."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        out = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not out and "allocate memory" not in str(error):
            raise
        raise Failed(too_large(config, model)) from None
