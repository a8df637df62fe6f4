"""From a configuration, or from a run that was stopped, to a trained model in its folder.

How the machine does best is measured once, before the first step, and recorded with the
number of steps: resuming uses what was recorded, so that it ends with the same weights.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from wordorder import __version__
from wordorder.atomic import write_text
from wordorder.errors import BadInput, Failed, Refused
from wordorder.model import TokenModel, make_model
from wordorder.model.config import ModelConfig
from wordorder.training import checkpoints, loop, metrics, report
from wordorder.training.config import (
    DEFAULT_SECONDS,
    TrainConfig,
    folder_of,
    seconds,
    whole_paths,
    with_vocabulary,
)
from wordorder.training.display import Display
from wordorder.training.machine import (
    Machine,
    check_same,
    losses_of,
    measure,
    pick_device,
    use,
)
from wordorder.training.material import Material, read_material, tokenizer_of
from wordorder.training.plan import (
    Plan,
    check_memory,
    plan_of,
    tokens_per_step,
    too_large,
)
from wordorder.training.run import Run, check_trust, emptied

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
        _write_folder(folder, config, material, settled, {"command": command, **(about or {})})
        training = loop.Training(
            config, settled.machine, material, model, settled.losses, settled.steps
        )
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
    machine = check_same(Machine(**recorded["machine"]), config, inexact)
    tokenizer = tokenizer_of(folder)
    checkpoint = checkpoints.load(folder / "training", show.say)
    _check_architecture(folder, config.model, checkpoint)
    material = read_material(config, tokenizer)
    if material.facts["content_hash"] != recorded["data"]["content_hash"] and not inexact:
        raise Refused(
            f"the text of {' '.join(config.data)} is not what {folder} was trained on: "
            "bring back the old text, or add --inexact to go on with this one"
        )
    model = make_model(config.model).to(machine.device)
    use(model, machine)
    with _threads(machine.threads), _memory_explained(config, model):
        losses = losses_of(model, machine)
        training = loop.Training(config, machine, material, model, losses, recorded["steps"])
        training.load(checkpoint)
        metrics.Metrics(folder).cut(training.done)
        plan = plan_of(config, machine, material, model, training.steps, None)
        return _finish(training, folder, show, plan)


def read_record(folder: Path) -> dict[str, Any]:
    """Return what `config.json` of a run folder holds.

    Raises:
        BadInput: where it is missing, damaged, or not of a training run.
    """
    path = folder / "config.json"
    if not folder.is_dir():
        raise BadInput(f"no run folder {folder}: train one with wordorder train --out {folder}")
    if not path.is_file():
        raise BadInput(f"{folder} is no run folder: config.json is missing")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        _ = record["training"], record["model"], record["machine"], record["steps"], record["data"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is damaged: {error!r}") from None
    return record


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
    steps: int
    plan: Plan


def _settle(
    config: TrainConfig,
    material: Material,
    model: TokenModel,
    started: float,
    show: Display,
    machine: Machine | None,
) -> _Settled:
    """Measure how this machine does best and how long a step takes; fix the number of steps."""
    asked = asked_steps(config)
    budget = seconds(config.time) if config.time else DEFAULT_SECONDS
    device = next(model.parameters()).device
    batch = material.batches(config).at(0).to(device)
    if machine is None:
        show.say("measuring what this machine does fast")
        machine = measure(
            config, model, batch, lambda step: budget if asked is None else 1.2 * asked * step
        )
    use(model, machine)
    if machine.compile:
        show.say("compiling, which takes half a minute or so")
    losses = losses_of(model, machine)
    at_rest = replace(config, learning_rate=0.0, matrix_learning_rate=0.0)
    trial = loop.Training(at_rest, machine, material, model, losses, steps=1000)
    step_seconds = _step_seconds(trial, WARM_UP_SECONDS / 4 if asked is None else 0.0)
    left = budget - (time.perf_counter() - started)
    steps = asked or steps_in(config, material, left, step_seconds)
    extra = _validation_steps(config, material)
    plan = plan_of(config, machine, material, model, steps, step_seconds * (steps + extra))
    return _Settled(machine, losses, steps, plan)


def asked_steps(config: TrainConfig) -> int | None:
    """Return the number of steps where it was asked for, in steps or in tokens."""
    if config.tokens is not None:
        return -(-config.tokens // tokens_per_step(config))
    return config.steps


def _step_seconds(training: loop.Training, least_seconds: float) -> float:
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


def _validation_steps(config: TrainConfig, material: Material) -> float:
    """Return how many steps' time all validations take; a forward pass is a third of a step."""
    there = len(material.validation)
    small = min(there, loop.validation_tokens(config)) * loop.VALIDATIONS
    tokens = small + min(there, loop.FINAL_VALIDATION_TOKENS)
    return tokens / tokens_per_step(config) / 3


def steps_in(
    config: TrainConfig, material: Material, seconds_left: float, step_seconds: float
) -> int:
    """Return how many steps fit into some seconds, validations counted; at least one."""
    return max(1, round(seconds_left / step_seconds - _validation_steps(config, material)))


def free_folder(config: TrainConfig) -> Path:
    """Return the run folder, where it may be written.

    Raises:
        BadInput: a run that is there already and not to be overwritten, or something else.
    """
    folder = folder_of(config)
    if not folder.exists():
        return folder
    if not folder.is_dir():
        raise BadInput(f"{folder} is a file: choose another --out")
    if not (folder / "config.json").exists():
        if any(folder.iterdir()):
            raise BadInput(f"{folder} is a folder of other things: choose another --out")
        return folder
    if not config.overwrite:
        raise BadInput(
            f"{folder} holds a run: go on with it by --resume {folder}, replace it by "
            "--overwrite, or choose another --out"
        )
    if config.init and Path(config.init).resolve() == folder.resolve():
        raise BadInput(f"--init {config.init} would overwrite itself: choose another --out")
    return folder


def _write_folder(
    folder: Path,
    config: TrainConfig,
    material: Material,
    settled: _Settled,
    about: Mapping[str, Any],
) -> None:
    """Replace what an old run left, and write what every command reads."""
    record = {
        "wordorder": __version__,
        **about,
        "model": config.model.resolved.to_dict(),
        "training": config.to_dict(),
        "machine": settled.machine.to_dict(),
        "steps": settled.steps,
        "plan": settled.plan.to_dict(),
        "data": material.facts,
    }
    try:
        emptied(folder)
        material.tokenizer.save(folder / "tokenizer.json")
        write_text(folder / "config.json", json.dumps(record, indent=1) + "\n")
    except OSError as error:
        raise BadInput(
            f"{folder} cannot be written: {error.strerror}: choose another --out"
        ) from None


def _finish(training: loop.Training, folder: Path, show: Display, plan: Plan) -> Run:
    """Train to the last step and write the report; also what there is of one when stopped."""
    show.plan(plan, training.done)
    try:
        loop.run(training, folder, show, _seconds_before(folder))
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


def _seconds_before(folder: Path) -> float:
    records = metrics.read(folder / "metrics.jsonl")
    return max((r.get("seconds", 0.0) for r in records), default=0.0)


def _check_architecture(
    folder: Path, model: ModelConfig, checkpoint: checkpoints.Checkpoint
) -> None:
    saved = ModelConfig.from_dict(checkpoint.extra["model"]).to_dict()
    now = model.resolved.to_dict()
    differs = [name for name in now if saved.get(name) != now[name]]
    if differs:
        name = differs[0]
        raise BadInput(
            f"{folder / 'config.json'} says {name} {now[name]}, the checkpoint was made with "
            f"{saved.get(name)}: a run goes on with its own architecture; for another, train anew"
        )


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
