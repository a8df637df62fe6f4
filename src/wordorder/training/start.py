"""From a configuration, or from a run that was stopped, to a trained model in its folder.

How the machine does best is measured before the first step and recorded with the number of
steps, which is an estimate where a length of time was asked for. Resuming uses what was
recorded, then and while the run went on, so that it ends with the same weights.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from wordorder.atomic import cannot_write
from wordorder.errors import BadInput, Failed, Refused
from wordorder.folders import is_set_aside, is_usable, recover, replacing_contents
from wordorder.locks import held
from wordorder.model import TokenModel, make_model, shape_of
from wordorder.model.config import ModelConfig
from wordorder.settings import Positive, checked
from wordorder.text.user_text import user_path
from wordorder.training import checkpoints, final_notes, loop, metrics, report
from wordorder.training.compute import (
    Compute,
    check_same,
    compiled,
    use,
)
from wordorder.training.config import (
    TrainConfig,
    folder_of,
    whole_paths,
    with_vocabulary,
)
from wordorder.training.display import Display
from wordorder.training.plan import (
    Plan,
    Timing,
    plan_of,
)
from wordorder.training.preconditions import (
    check_extras,
    check_sample_prompt,
    with_tokenizer_from,
)
from wordorder.training.preparation import Preparation, memory_explained, prepare
from wordorder.training.process_state import isolated_process_state
from wordorder.training.record import (
    check_architecture,
    free_folder,
    read_record,
    record_steps,
    write_folder,
)
from wordorder.training.recorded import naming_damage
from wordorder.training.run import RUN, Run, check_trust, misfits
from wordorder.training.run_controller import RunController
from wordorder.training.timing import Deadline
from wordorder.training.training import Training, not_finite
from wordorder.training.training_data import (
    TrainingData,
    check_same_split,
    read_training_data,
    split_warning,
    tokenizer_of,
)


def train(
    config: TrainConfig,
    *,
    show: Display | None = None,
    command: str | None = None,
    trust: bool = False,
    compute: Compute | None = None,
    weights: Mapping[str, Tensor] | None = None,
    about: Mapping[str, Any] | None = None,
    wait: float = 0.0,
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
        wait: seconds to wait for another process that is writing to the folder.

    Raises:
        BadInput: a configuration, text or folder that cannot be.
        Failed: a loss that is not finite, too little memory or room on the disk.
        Refused: another process is writing to the folder.
        KeyboardInterrupt: after Ctrl-C or SIGTERM; the run is saved and can be resumed.
    """
    with held(folder_of(config), wait=wait):
        return train_in_held_folder(
            config,
            show=show,
            command=command,
            trust=trust,
            compute=compute,
            weights=weights,
            about=about,
        )


@isolated_process_state()
def train_in_held_folder(
    config: TrainConfig,
    *,
    show: Display | None = None,
    command: str | None = None,
    trust: bool = False,
    compute: Compute | None = None,
    weights: Mapping[str, Tensor] | None = None,
    about: Mapping[str, Any] | None = None,
) -> Run:
    """Train as `train` does, in a folder whose lock is held."""
    started, show = time.perf_counter(), show or Display()
    folder = free_folder(config)
    # Paths are kept whole, so that the run can be resumed from another folder.
    config = replace(config, out=str(folder), data=whole_paths(config.data))
    check_extras(config)
    first = Run.load(config.init, trust=trust) if config.init else None
    if first:
        config = with_tokenizer_from(first, config)
    training_data = read_training_data(config, first.tokenizer if first else None)
    config = with_vocabulary(config, training_data.tokenizer.vocabulary_size)
    check_sample_prompt(config, training_data.tokenizer)
    if first and (warning := split_warning(first.config["data"], training_data.facts)):
        show.say(warning)
    if first and weights is None:
        weights = _weights_of(first, shape_of(config.model))
    if weights is not None and (name := not_finite(weights)):
        whose = f"--init {config.init}" if config.init else "the weights given"
        raise BadInput(f"{whose}: {name} is not finite: begin from others")
    with _threads(compute.threads if compute else config.threads):
        prepared = prepare(config, training_data, started, show, compute=compute, weights=weights)
        about = {"command": command, **(about or {})}
        with (
            replacing_contents(folder, RUN),
            memory_explained(prepared.config, prepared.model),
        ):
            write_folder(
                folder, prepared.config, training_data, prepared.compute, prepared.plan, about
            )
            return _finish(_training(prepared, training_data), folder, show, prepared.plan)


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
        Refused: where it would end with other weights, and `inexact` is not set; another process
            is writing to the folder.
    """
    folder = user_path(folder)
    if not folder.is_dir():
        raise BadInput(f"no run folder {folder}: train one with wordorder train --out {folder}")
    with held(folder, remedy="see to its permissions"):
        return resume_in_held_folder(folder, inexact=inexact, trust=trust, show=show)


@isolated_process_state()
def resume_in_held_folder(folder: Path, *, inexact: bool, trust: bool, show: Display | None) -> Run:
    """Go on as `resume` does, with a folder whose lock is held."""
    show = show or Display()
    recover(folder, RUN)
    recorded = read_record(folder)
    with naming_damage(folder / "config.json"):
        model_config = ModelConfig.from_dict(recorded["model"])
        config = TrainConfig.from_dict(recorded["training"], model_config)
        compute = Compute.from_dict(recorded["machine"])
        planned = recorded.get("plan", {})
        steps = checked("steps", Positive, planned.get("steps", recorded["steps"]))
        timing = Timing.from_dict(planned)
    check_trust(folder, config.model, trust)
    compute = check_same(compute, config, inexact, show.say)
    tokenizer = tokenizer_of(folder)
    checkpoint = checkpoints.load(folder / "training", show.say)
    check_architecture(folder, config.model, checkpoint)
    training_data = read_training_data(config, tokenizer)
    if training_data.facts["content_hash"] != recorded["data"]["content_hash"] and not inexact:
        raise Refused(
            f"the text of {' '.join(config.data)} is not what {folder} was trained on: "
            "bring back the old text, or add --inexact to go on with this one"
        )
    if not inexact:
        check_same_split(folder, recorded["data"], training_data.facts)
    model = make_model(config.model).to(compute.device)
    use(model, compute)
    with _threads(compute.threads), memory_explained(config, model):
        forward = compiled(model, compute)
        plan = plan_of(config, compute, training_data, model, steps, None, timing)
        training = _training(Preparation(config, model, compute, forward, plan), training_data)
        training.load(checkpoint)
        metrics.Metrics(folder).cut(training.done, training.best and training.best.validated)
        return _finish(training, folder, show, plan, checkpoint.extra.get("decisions"))


def _weights_of(first: Run, model: TokenModel) -> dict[str, Tensor]:
    """Return the weights of another run for a model.

    Raises:
        BadInput: another run of another architecture.
    """
    tensors = load_file(first.folder / "model.safetensors")
    if odd := misfits(tensors, model):
        raise BadInput(
            f"--init {first.folder}: its architecture is another, {odd[0]} does not fit: "
            "leave out the options that change the model"
        )
    return tensors


def _training(prepared: Preparation, training_data: TrainingData) -> Training:
    """Return the training that was planned."""
    plan = prepared.plan
    return Training(
        prepared.config,
        prepared.compute,
        training_data,
        prepared.model,
        plan.steps,
        open_ended=plan.open_ended,
        forward=prepared.forward,
    )


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
        try:
            controller = _run_controller(folder, training.config, plan, known)
            loop.run(training, folder, show, controller, _seconds_before(folder))
            record_steps(folder, training.done)
        finally:
            show.close()
        for line in final_notes.final_notes(folder):
            show.say(line)
    except KeyboardInterrupt:
        with suppress(Exception):  # what stopped it is told, not what comes after
            show.say(_stopped(training, folder))
            report.write(folder)
        raise
    except Failed as error:
        with suppress(Exception):
            report.write(folder)
        raise Failed(f"{error} ({_left(folder)})") from None
    try:
        if line := report.write(folder):
            show.say(line)
    except OSError as error:
        wrong = cannot_write(error.filename or folder, error, "see to its permissions")
        raise Failed(f"{wrong} (the run is done: wordorder train --resume {folder})") from None
    return Run.load(folder, trust=True)  # whose code ran already


def _stopped(training: Training, folder: Path) -> str:
    """Return how far a run that was stopped is saved."""
    if is_set_aside(folder) or not is_usable(folder, RUN):
        return f"stopped before the first checkpoint: {_left(folder)}"
    done = "stopped" if training.saved < training.done else "stopped and saved"
    saved = "" if training.saved == training.done else f", saved at step {training.saved}"
    return (
        f"{done} at step {training.done} of {training.steps}{saved}: "
        f"go on with wordorder train --resume {folder}"
    )


def _left(folder: Path) -> str:
    """Return what a folder holds after a run that ended badly."""
    if is_set_aside(folder):
        return f"{folder} holds the run that was there before"
    if not is_usable(folder, RUN):
        return "nothing was kept"
    return f"the last good checkpoint is kept in {folder}"


def _run_controller(
    folder: Path, config: TrainConfig, plan: Plan, known: list[dict[str, Any]] | None
) -> RunController:
    """Return what decides the end of a run and its number of threads."""
    timing, deadline = plan.timing, None
    if plan.open_ended and timing.budget_seconds is not None:
        deadline = Deadline(timing.budget_seconds, config.decay, timing.step_seconds)
    return RunController(
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
