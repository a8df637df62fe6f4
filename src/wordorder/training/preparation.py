"""Decides before the first step how to compute, how many steps to take, and the model's size.

A few real steps are timed. The decisions are recorded with the run, so that a resumed run measures
nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from wordorder.errors import BadInput, Failed
from wordorder.model import TokenModel, make_model, shape_of
from wordorder.training import loop
from wordorder.training.benchmark import SECONDS_WORTH_COMPILING, measure, step_seconds
from wordorder.training.compute import Compute, compiled, pick_device, use
from wordorder.training.config import TrainConfig, budget_seconds
from wordorder.training.display import Display
from wordorder.training.plan import Plan, Timing, check_memory, out_of_memory, plan_of
from wordorder.training.ranks import ALONE, Ranks
from wordorder.training.size import as_preset, choose_preset, with_dropout
from wordorder.training.threads import candidates
from wordorder.training.tokenized_text import bytes_per_token
from wordorder.training.training import Training
from wordorder.training.training_data import TrainingData
from wordorder.training.validation import steps_between_validations, validation_tokens

WARM_UP_STEPS, WARM_UP_SECONDS = 3, 2.0
# With `auto_size`, one of these presets is timed first: the likely choice on two idle cores for a
# budget below SECONDS_FOR_THE_SECOND, or for a longer one.
LIKELY_PRESETS, SECONDS_FOR_THE_SECOND = ("nano", "mini"), 120.0


@dataclass(frozen=True)
class Preparation:
    """What is decided before the first step; it does not change during the run.

    Args:
        config: the configuration, with dropout and sizes filled in.
        model: the model with its initial weights.
        compute: device, dtype, attention kernel, threads and compilation.
        forward: the model as training calls it, possibly compiled.
        plan: the number of steps, and the expected time and memory.
    """

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
    ranks: Ranks = ALONE,
) -> Preparation:
    """Benchmark this machine, time a step, and plan the run.

    The plan decides the number of steps, the dropout if it is not set, and the sizes of the model
    if `auto_size` is set.

    Args:
        started: when the run began, by `time.perf_counter`.
        show: receives messages.
        compute: device, dtype, kernel, threads and compilation; None: choose by a benchmark.
        weights: initial weights; None: drawn from the seed.
        ranks: the processes that will train; a step of this one's rows is timed.

    Raises:
        BadInput: a kernel or device is not available.
        Failed: there is too little memory.
    """
    if config.average != "none" and training_data.development is None:
        raise BadInput(
            f"--average {config.average} is kept if it is better on the development text, which is "
            "shorter than one context: use more --data, a larger --development-fraction, or leave "
            "--average out",
            code="training.average-without-development",
        )
    timed, transformer = configured_steps(config) is None, config.model.kind == "transformer"
    open_size = config.auto_size and timed and transformer and compute is None and weights is None
    if not open_size:
        return _prepare(config, training_data, started, show, compute, weights, ranks)
    compiles = config.compile == "auto" and budget_seconds(config) >= SECONDS_WORTH_COMPILING
    preset = LIKELY_PRESETS[budget_seconds(config) >= SECONDS_FOR_THE_SECOND]
    likely = replace(config, model=as_preset(config.model, preset))
    if compiles:  # compiling a size that may not be chosen would waste time
        likely = replace(likely, compile="no")
    prepared = _prepare(likely, training_data, started, show, None, None, ranks)
    sized = _sized(config, prepared, training_data, started)
    if compiles or sized.model != likely.model:
        prepared = _prepare(sized, training_data, started, show, None, None, ranks)
    return prepared


def _prepare(
    config: TrainConfig,
    training_data: TrainingData,
    started: float,
    show: Display,
    compute: Compute | None,
    weights: Mapping[str, Tensor] | None,
    ranks: Ranks,
) -> Preparation:
    fixed_steps = configured_steps(config)
    device = compute.device if compute else pick_device(config.device)
    if fixed_steps:
        config = with_dropout(config, training_data, fixed_steps)
    check_memory(config, shape_of(config.model), device, ranks)
    model = make_model(config.model)
    model.set_recompute(config.recompute)
    with memory_explained(config, model, ranks):
        set_weights(model, config.seed, weights)
        model.to(device)
        compute, forward, timing = _measured(
            config, training_data, model, started, show, compute, ranks.unconnected()
        )
        steps = fixed_steps or steps_in(
            config, training_data, timing.budget_seconds or 0.0, timing.step_seconds
        )
        config = with_dropout(config, training_data, steps)
        model.set_dropout(config.model.resolved.dropout or 0.0)
        set_weights(model, config.seed, weights)
        validations = sum(_validation_steps(config, training_data, steps))
        took = timing.step_seconds * (steps + validations)
        plan = plan_of(config, compute, training_data, model, steps, took, timing)
    return Preparation(config, model, compute, forward, plan)


def _measured(
    config: TrainConfig,
    training_data: TrainingData,
    model: TokenModel,
    started: float,
    show: Display,
    compute: Compute | None,
    ranks: Ranks,
) -> tuple[Compute, nn.Module, Timing]:
    """Return how to compute, the model as training calls it, and the time of a step."""
    fixed_steps, budget = configured_steps(config), budget_seconds(config)
    device = next(model.parameters()).device
    batch = ranks.rows.of(training_data.batches(config).at(0)).to(device)
    numbers = _thread_numbers(config, device.type) if compute is None else ()
    if compute is None:
        # The measured step is a forward and backward pass: 1.2 allows for the optimizer and for
        # validations.
        show.say("measuring the fastest dtype, kernel and number of threads on this machine")
        compute = measure(
            config,
            model,
            batch,
            lambda step: budget if fixed_steps is None else 1.2 * fixed_steps * step,
            numbers,
        )
        compute = replace(compute, ranks=ranks.count)
    use(model, compute)
    left = budget - (time.perf_counter() - started)
    if compute.compile:
        if fixed_steps is None and config.model.dropout is None:
            # Changing the dropout later would compile again.
            rough = steps_in(config, training_data, left, step_seconds(model, batch))
            dropout = with_dropout(config, training_data, rough).model.dropout
            model.set_dropout(dropout or 0.0)
        show.say("compiling the model, which takes about half a minute")
    forward = compiled(model, compute)
    at_rest = replace(config, learning_rate=0.0, matrix_learning_rate=0.0)
    trial = Training(
        at_rest, compute, training_data, model, steps=1000, forward=forward, ranks=ranks
    )
    try:
        took = _step_seconds(trial, WARM_UP_SECONDS / 4 if fixed_steps is None else 0.0)
    except Failed as error:
        if error.code != "training.not-finite":
            raise
        raise Failed(
            "the loss or its gradient is not finite with the initial weights, before any step: "
            "try --dtype float32, other weights, or other options of the model",
            code="training.initial-loss-not-finite",
        ) from None
    left = budget - (time.perf_counter() - started)
    numbers = numbers if ranks.count == 1 else ()  # the ranks do not decide together
    return compute, forward, Timing(took, None if fixed_steps else max(0.0, left), numbers)


def _sized(
    config: TrainConfig, prepared: Preparation, training_data: TrainingData, started: float
) -> TrainConfig:
    """Return the configuration with sizes chosen for the text and the remaining time."""
    measured = prepared.config
    name = choose_preset(
        measured,
        text_tokens=sum(map(len, training_data.training_stores)),
        seconds=budget_seconds(config) - (time.perf_counter() - started),
        seconds_per_token=prepared.plan.timing.step_seconds / measured.tokens_per_step,
        token_bytes=bytes_per_token(training_data),
    )
    return replace(config, model=as_preset(config.model, name))


def _thread_numbers(config: TrainConfig, device: str) -> tuple[int, ...]:
    """Return the numbers of threads to choose from; empty if there is no choice."""
    if config.threads or device != "cpu":
        return ()
    numbers = candidates(torch.get_num_threads())
    return numbers if len(numbers) > 1 else ()


def configured_steps(config: TrainConfig) -> int | None:
    """Return the configured number of steps, from steps or tokens; None for a timed run."""
    if config.tokens is not None:
        return -(-config.tokens // config.tokens_per_step)
    return config.steps


def _step_seconds(training: Training, least_seconds: float) -> float:
    """Return the mean seconds of a training step; the first one, which may compile, is ignored.

    Args:
        least_seconds: time fast steps for at least this long, because the number of steps of a
            timed run depends on the result.
    """
    training.step()
    start = time.perf_counter()
    times: list[float] = []
    while len(times) < WARM_UP_STEPS or time.perf_counter() - start < least_seconds:
        before = time.perf_counter()
        training.step()
        times.append(time.perf_counter() - before)
        if time.perf_counter() - start > WARM_UP_SECONDS:
            break
    return sum(times) / len(times)


def _validation_steps(
    config: TrainConfig, training_data: TrainingData, steps: float
) -> tuple[float, float]:
    """Return the time of all validations during `steps` steps, and of the final one, in steps."""
    number = steps // (config.evaluate_every or steps_between_validations(config, int(steps)))
    during, final = validation_tokens(config), loop.FINAL_VALIDATION_TOKENS
    facts = training_data.facts
    read = facts["development_tokens"] or facts["validation_tokens"]
    return (
        number * _validation_time(config, min(read, during)),
        _validation_time(config, min(facts["validation_tokens"], final)),
    )


def _validation_time(config: TrainConfig, tokens: int) -> float:
    """Return the time of one validation in steps; a forward pass takes a third of a step."""
    times = 1 if config.average == "none" else 2  # the averaged weights are validated as well
    return times * tokens / config.tokens_per_step / 3


def steps_in(
    config: TrainConfig, training_data: TrainingData, seconds_left: float, step_seconds: float
) -> int:
    """Return how many steps fit into the remaining time with validations; at least one.

    The final validation is not part of that time.
    """
    steps = max(1.0, seconds_left / step_seconds)
    during, _ = _validation_steps(config, training_data, steps)
    return max(1, round(steps / (1 + during / steps)))


def set_weights(model: TokenModel, seed: int, weights: Mapping[str, Tensor] | None) -> None:
    """Set the initial weights: these, or those drawn from the seed."""
    model.initialise(seed)
    if weights is not None:
        model.load_state_dict(weights)


@contextmanager
def memory_explained(
    config: TrainConfig, model: TokenModel, ranks: Ranks = ALONE
) -> Iterator[None]:
    """Turn PyTorch's out-of-memory errors into an error with a remedy."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        out = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not out and "allocate memory" not in str(error):
            raise
        device = next(model.parameters()).device.type
        raise out_of_memory(config, model, device=device, ranks=ranks.count) from None
