"""From a configuration, or from a run that was stopped, to a trained model in its folder.

How the machine does best is measured before the first step and recorded with the number of
steps, which is an estimate where a length of time was asked for. Resuming uses what was
recorded, then and while the run went on, so that it ends with the same weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from wordorder.errors import BadInput, Failed, Refused
from wordorder.model import TokenModel, make_model
from wordorder.model.config import ModelConfig
from wordorder.training import checkpoints, loop, metrics, outcome, report
from wordorder.training.config import (
    DEFAULT_SECONDS,
    TrainConfig,
    seconds,
    whole_paths,
    with_vocabulary,
)
from wordorder.training.course import Course
from wordorder.training.display import Display
from wordorder.training.machine import (
    Machine,
    check_same,
    losses_of,
    measure,
    pick_device,
    use,
)
from wordorder.training.material import (
    Material,
    check_same_split,
    read_material,
    tokenizer_of,
)
from wordorder.training.plan import (
    Plan,
    Timing,
    check_memory,
    plan_of,
    tokens_per_step,
    too_large,
)
from wordorder.training.record import (
    check_architecture,
    free_folder,
    read_record,
    record_steps,
    write_folder,
)
from wordorder.training.run import Run, check_trust
from wordorder.training.threads import candidates
from wordorder.training.timing import Deadline
from wordorder.training.training import (
    Training,
    steps_between_validations,
    validation_tokens,
)

WARM_UP_STEPS, WARM_UP_SECONDS = 3, 2.0


def train(
    config: TrainConfig,
    *,
    show: Display | None = None,
    command: str | None = None,
    trust: bool = False,
    machine: Machine | None = None,
    weights: Mapping[str, Tensor] | None = None,
    about: Mapping[str, Any] | None = None,
) -> Run:
    """Train a model as configured and return its run.

    Args:
        config: what to train, on what, for how long, and into which folder.
        show: what is told while it works; None: nothing.
        command: how it was asked for, for the model card.
        trust: run the code of an embedding that `config.init` names.
        machine: how to compute, as runs that are to be compared must agree; None measures.
        weights: what to start from instead of the seed's weights or those of `config.init`, whose
            tokenizer is taken all the same.
        about: what else `config.json` is to say of the run.

    Raises:
        BadInput: a configuration, text or folder that cannot be.
        Failed: a loss that is not finite, too little memory or room on the disk.
        KeyboardInterrupt: after Ctrl-C; the run is saved and can be resumed.
    """
    started, show = time.perf_counter(), show or Display()
    folder = free_folder(config)
    # Paths are kept whole, so that the run can be resumed from another folder.
    config = replace(config, out=str(folder), data=whole_paths(config.data))
    first = Run.load(config.init, trust=trust) if config.init else None
    material = read_material(config, first.tokenizer if first else None)
    config = with_vocabulary(config, material.tokenizer.vocabulary_size)
    device = machine.device if machine else pick_device(config.device)
    model = make_model(config.model)
    with _threads(machine.threads if machine else config.threads), _memory_explained(config, model):
        check_memory(config, model, device)
        if first and weights is None:
            weights = _weights_of(first, model)
        _set_weights(model, config.seed, weights)
        model.to(device)
        settled = _settle(config, material, model, started, show, machine)
        _set_weights(model, config.seed, weights)
        about = {"command": command, **(about or {})}
        write_folder(folder, config, material, settled.machine, settled.plan, about)
        training = _training(config, settled.machine, material, model, settled)
        return _finish(training, folder, show, settled.plan)


def resume(
    folder: str | Path,
    *,
    inexact: bool = False,
    trust: bool = False,
    show: Display | None = None,
) -> Run:
    """Go on with a run that was stopped, to the bit, and return it.

    Args:
        inexact: go on also where this machine, or the text, is not what it was.
        trust: run the code of an embedding of one's own that the run names.

    Raises:
        BadInput: no run there, or a missing or damaged file (which one).
        Refused: where it would end with other weights, and `inexact` is not set.
    """
    folder, show = Path(folder), show or Display()
    recorded = read_record(folder)
    config = TrainConfig.from_dict(recorded["training"], ModelConfig.from_dict(recorded["model"]))
    check_trust(folder, config.model, trust)
    machine = check_same(Machine(**recorded["machine"]), config, inexact, show.say)
    tokenizer = tokenizer_of(folder)
    checkpoint = checkpoints.load(folder / "training", show.say)
    check_architecture(folder, config.model, checkpoint)
    material = read_material(config, tokenizer)
    if material.facts["content_hash"] != recorded["data"]["content_hash"] and not inexact:
        raise Refused(
            f"the text of {' '.join(config.data)} is not what {folder} was trained on: "
            "bring back the old text, or add --inexact to go on with this one"
        )
    if not inexact:
        check_same_split(folder, recorded["data"], material.facts)
    model = make_model(config.model).to(machine.device)
    use(model, machine)
    with _threads(machine.threads), _memory_explained(config, model):
        losses = losses_of(model, machine)
        planned = recorded.get("plan", {})
        steps, timing = planned.get("steps", recorded["steps"]), Timing.from_dict(planned)
        plan = plan_of(config, machine, material, model, steps, None, timing)
        training = _training(config, machine, material, model, _Settled(machine, losses, plan))
        training.load(checkpoint)
        metrics.Metrics(folder).cut(training.done)
        return _finish(training, folder, show, plan, checkpoint.extra.get("decisions"))


def _weights_of(first: Run, model: TokenModel) -> dict[str, Tensor]:
    """Return the weights of another run for a model.

    Raises:
        BadInput: another run of another architecture.
    """
    tensors, own = load_file(first.folder / "model.safetensors"), model.state_dict()
    odd = [n for n in own if n not in tensors or tensors[n].shape != own[n].shape]
    odd += [n for n in tensors if n not in own]
    if odd:
        raise BadInput(
            f"--init {first.folder}: its architecture is another, {odd[0]} does not fit: "
            "leave out the options that change the model"
        )
    return tensors


def _set_weights(model: TokenModel, seed: int, weights: Mapping[str, Tensor] | None) -> None:
    """Begin with these weights, or with those of a seed."""
    model.initialise(seed)
    if weights is not None:
        model.load_state_dict(weights)


@dataclass(frozen=True)
class _Settled:
    """What is decided before the first step."""

    machine: Machine
    losses: Callable[..., Tensor]
    plan: Plan


def _settle(
    config: TrainConfig,
    material: Material,
    model: TokenModel,
    started: float,
    show: Display,
    machine: Machine | None,
) -> _Settled:
    """Measure how this machine does best and how long a step takes; plan the number of steps."""
    asked = asked_steps(config)
    budget = seconds(config.time) if config.time else DEFAULT_SECONDS
    device = next(model.parameters()).device
    batch = material.batches(config).at(0).to(device)
    numbers = _thread_numbers(config, device.type) if machine is None else ()
    if machine is None:
        show.say("measuring what this machine does fast")
        machine = measure(
            config,
            model,
            batch,
            lambda step: budget if asked is None else 1.2 * asked * step,
            numbers,
        )
    use(model, machine)
    if machine.compile:
        show.say("compiling, which takes half a minute or so")
    losses = losses_of(model, machine)
    at_rest = replace(config, learning_rate=0.0, matrix_learning_rate=0.0)
    trial = Training(at_rest, machine, material, model, losses, steps=1000)
    step_seconds = _step_seconds(trial, WARM_UP_SECONDS / 4 if asked is None else 0.0)
    left = budget - (time.perf_counter() - started)
    steps = asked or steps_in(config, material, left, step_seconds)
    timing = Timing(step_seconds, None if asked else max(0.0, left), numbers)
    took = step_seconds * (steps + _validation_steps(config, material, steps))
    plan = plan_of(config, machine, material, model, steps, took, timing)
    return _Settled(machine, losses, plan)


def _thread_numbers(config: TrainConfig, device: str) -> tuple[int, ...]:
    """Return the numbers of threads to choose from; none where there is no choice."""
    if config.threads or device != "cpu":
        return ()
    numbers = candidates(torch.get_num_threads())
    return numbers if len(numbers) > 1 else ()


def _training(
    config: TrainConfig, machine: Machine, material: Material, model: TokenModel, settled: _Settled
) -> Training:
    """Return the training that was planned."""
    plan = settled.plan
    return Training(
        config, machine, material, model, settled.losses, plan.steps, open_ended=plan.open_ended
    )


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


def _validation_steps(config: TrainConfig, material: Material, steps: float) -> float:
    """Return how many steps' time all validations take; a forward pass is a third of a step."""
    there = len(material.validation)
    number = steps // steps_between_validations(config, int(steps))
    small = min(there, validation_tokens(config)) * number
    tokens = small + min(there, loop.FINAL_VALIDATION_TOKENS)
    return tokens / tokens_per_step(config) / 3


def steps_in(
    config: TrainConfig, material: Material, seconds_left: float, step_seconds: float
) -> int:
    """Return how many steps fit into some seconds, validations counted; at least one."""
    steps = max(1.0, seconds_left / step_seconds)
    return max(1, round(steps - _validation_steps(config, material, steps)))


def _finish(
    training: Training,
    folder: Path,
    show: Display,
    plan: Plan,
    known: list[dict[str, Any]] | None = None,
) -> Run:
    """Train to the last step and write the report; also what there is of one when stopped."""
    show.plan(plan, training.done)
    try:
        course = _course(folder, training.config, plan, known)
        loop.run(training, folder, show, course, _seconds_before(folder))
        record_steps(folder, training.done)
        for line in outcome.lines(folder):
            show.say(line)
    except KeyboardInterrupt:
        show.say(
            f"stopped and saved at step {training.done} of {training.steps}: "
            f"go on with wordorder train --resume {folder}"
        )
        raise
    except Failed as error:
        raise Failed(f"{error} (the last good checkpoint is kept in {folder})") from None
    finally:
        show.close()
        report.write(folder)
    return Run.load(folder, trust=True)  # whose code ran already


def _course(
    folder: Path, config: TrainConfig, plan: Plan, known: list[dict[str, Any]] | None
) -> Course:
    """Return what decides the end of a run and its number of threads."""
    timing, deadline = plan.timing, None
    if plan.open_ended and timing.budget_seconds is not None:
        deadline = Deadline(timing.budget_seconds, config.decay, timing.step_seconds)
    return Course(
        folder,
        deadline=deadline,
        thread_numbers=timing.thread_numbers,
        step_seconds=timing.step_seconds or None,
        known=known,
    )


def _seconds_before(folder: Path) -> float:
    records = metrics.read(folder / "metrics.jsonl")
    return max((r.get("seconds", 0.0) for r in records), default=0.0)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Compute with this many threads; 0: as many as PyTorch takes."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _memory_explained(config: TrainConfig, model: TokenModel) -> Iterator[None]:
    """Turn what PyTorch says when memory runs out into what to do about it."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        out = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not out and "allocate memory" not in str(error):
            raise
        raise Failed(too_large(config, model)) from None
