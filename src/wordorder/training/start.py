"""Trains a model from a configuration, or resumes a run.

The benchmark before the first step decides how to compute and how many steps to take (an estimate
for a timed run). These decisions, and those made during the run, are recorded; resuming repeats
them, so that the run ends with the same weights.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wordorder import stopping
from wordorder.atomic import cannot_write
from wordorder.errors import BadInput, Failed, Refused
from wordorder.folders import is_set_aside, is_usable, recover, replacing_contents
from wordorder.locks import held
from wordorder.model import make_model, shape_of
from wordorder.model.config import ModelConfig
from wordorder.settings import Positive, checked
from wordorder.text.user_text import named_folder
from wordorder.training import checkpoints, final_notes, loop, metrics, report
from wordorder.training.compute import (
    Compute,
    check_same,
    compiled,
    pick_device,
    use,
)
from wordorder.training.config import (
    TrainConfig,
    folder_of,
    with_moved_texts,
    with_whole_paths,
)
from wordorder.training.display import Display
from wordorder.training.follower import lead
from wordorder.training.initial_run import with_initial_run
from wordorder.training.initial_weights import weights_of
from wordorder.training.moved_text import check_not_moved, resume_command, resuming
from wordorder.training.plan import Plan, Timing, plan_of
from wordorder.training.preconditions import (
    check_extras,
    check_layers,
    check_ranks,
    check_sample_prompt,
    check_was_trained,
    notes_on_layers,
)
from wordorder.training.preparation import Preparation, memory_explained, prepare
from wordorder.training.process_state import isolated_process_state
from wordorder.training.ranks import ALONE, Ranks
from wordorder.training.record import (
    check_architecture,
    free_folder,
    read_record,
    record_steps,
    record_texts,
    write_folder,
)
from wordorder.training.recorded import check_run_folder, naming_damage
from wordorder.training.run import RUN, Run, changed_code, check_trust
from wordorder.training.run_controller import RunController
from wordorder.training.timing import Deadline
from wordorder.training.training import Training
from wordorder.training.training_data import (
    TrainingData,
    check_same_text,
    notes_on_text,
    read_training_data,
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
    ranks: Ranks = ALONE,
) -> Run:
    """Train a model as configured and return its run.

    Args:
        config: the configuration.
        show: receives progress events; None: no output.
        command: the command line, for the model card; None: trained from Python.
        trust: allow the code of a user-defined embedding in `config.init` to run.
        compute: how to compute, so that compared runs agree; None: choose by a benchmark.
        weights: initial weights, instead of those drawn from the seed or those of `config.init`.
            The tokenizer of `config.init` is used all the same.
        about: further entries of `config.json`.
        wait: seconds to wait for another process that is writing to the folder.
        ranks: the processes that share the work, from `ranks.joined`; this one leads. The others
            call `follow`.

    Raises:
        BadInput: the configuration, the text or the folder is invalid.
        Failed: the loss is not finite, or there is too little memory or disk space.
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
            ranks=ranks,
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
    ranks: Ranks = ALONE,
) -> Run:
    """Train as `train` does, in a folder whose lock the caller holds."""
    started, show = time.perf_counter(), show or Display()
    folder = free_folder(config)
    # Absolute paths, so that the run can be resumed from another working directory.
    config = with_whole_paths(replace(config, out=str(folder)))
    check_extras(config)
    check_layers(config.model)
    pick_device(config.device)  # before the text is read, which may take minutes
    ranks.check_batch_size(config.batch_size)
    check_ranks(config, ranks.count)
    config, training_data, first = with_initial_run(
        config, trust=trust, in_code=command is None and weights is None
    )
    check_sample_prompt(config, training_data.tokenizer)
    on_text = notes_on_text(first.config["data"], training_data.facts) if first else []
    for note in (*notes_on_layers(config.model), *on_text):
        show.say(note)
    if first and weights is None:
        weights = weights_of(first, shape_of(config.model))
    if weights is not None and (name := checkpoints.not_finite(weights)):
        source = f"--init {config.init}" if config.init else "the initial weights"
        raise BadInput(
            f"{source}: the weight {name} is not finite: start from other weights",
            code="training.init-not-finite",
        )
    with _threads(compute.threads if compute else config.threads):
        prepared = prepare(
            config, training_data, started, show, compute=compute, weights=weights, ranks=ranks
        )
        about = {"command": command, **(about or {})}
        with (
            replacing_contents(folder, RUN),
            memory_explained(prepared.config, prepared.model, ranks),
        ):
            write_folder(
                folder, prepared.config, training_data, prepared.compute, prepared.plan, about
            )
            training = _training(prepared, training_data, ranks)
            return _finish(training, folder, show, prepared.plan)


def resume(
    folder: str | Path,
    *,
    inexact: bool = False,
    trust: bool = False,
    show: Display | None = None,
    ranks: Ranks = ALONE,
    texts: Mapping[str, tuple[str, ...]] | None = None,
) -> Run:
    """Resume a run bit for bit, and return it.

    Args:
        folder: the run folder.
        inexact: resume even if this machine or the text has changed.
        trust: allow the code of a user-defined embedding to run.
        show: receives progress events; None: no output.
        ranks: the processes that share the work; this one leads. If the run had another number of
            them, losses agree to rounding, and the run records the change.
        texts: new names of its texts, if they were moved: `data`, `validation_data` or
            `development_data`. The run records them.

    Raises:
        BadInput: the folder is not a run, or a file is missing or damaged.
        Refused: the run would end with other weights and `inexact` is not set, or another process
            is writing to the folder.
    """
    folder = named_folder(folder)
    check_run_folder(folder)
    with held(folder, remedy="check its permissions"):
        return resume_in_held_folder(
            folder, inexact=inexact, trust=trust, show=show, ranks=ranks, texts=texts
        )


@isolated_process_state()
def resume_in_held_folder(
    folder: Path,
    *,
    inexact: bool,
    trust: bool,
    show: Display | None,
    ranks: Ranks = ALONE,
    texts: Mapping[str, tuple[str, ...]] | None = None,
) -> Run:
    """Resume as `resume` does, in a folder whose lock the caller holds."""
    show = show or Display()
    if recover(folder, RUN):
        show.say("an --overwrite was killed before its first checkpoint: the run before it is back")
    recorded = read_record(folder)
    check_was_trained(folder, recorded)
    with naming_damage(folder / "config.json"):
        model_config = ModelConfig.from_dict(recorded["model"])
        config = TrainConfig.from_dict(recorded["training"], model_config)
        compute = Compute.from_dict(recorded["machine"])
        planned = recorded.get("plan", {})
        steps = checked("steps", Positive, planned.get("steps", recorded["steps"]))
        timing = Timing.from_dict(planned)
    check_extras(config)
    if texts:
        config = with_moved_texts(config, texts)
    check_not_moved(config, folder, f"say where it is: {resuming(folder)}")
    check_trust(folder, config.model, trust)
    if (name := changed_code(recorded, config.model)) and not inexact:
        raise Refused(
            f"the code of {name} has changed since {folder} was started with it: restore the old "
            "code, or add --inexact to resume with the new one",
            code="training.other-code",
        )
    ranks.check_batch_size(config.batch_size)
    ranks_before = compute.ranks
    compute = check_same(compute, config, inexact, show.say, ranks.count)
    checkpoint = checkpoints.load(folder / "training", show.say)
    check_architecture(folder, config.model, checkpoint)
    training_data = read_training_data(config, tokenizer_of(folder), recorded["data"].get("chat"))
    if not inexact:
        check_same_text(folder, recorded["data"], training_data.facts)
    if texts:
        record_texts(folder, config)
    model = make_model(config.model).to(compute.device)
    use(model, compute)
    with _threads(compute.threads), memory_explained(config, model, ranks):
        forward = compiled(model, compute)
        plan = plan_of(config, compute, training_data, model, steps, None, timing)
        prepared = Preparation(config, model, compute, forward, plan)
        training = _training(prepared, training_data, ranks)
        training.load(checkpoint)
        checkpoints.remove_after(folder / "training", training.done)
        for note in final_notes.of_finished(folder, training.done):
            show.say(note)
        best, known = training.best, checkpoint.extra.get("decisions")
        metrics.Metrics(folder).cut(training.done, best.validated if best else None)
        return _finish(training, folder, show, plan, known, ranks_before)


def _training(prepared: Preparation, training_data: TrainingData, ranks: Ranks) -> Training:
    """Return the training state for a preparation."""
    plan = prepared.plan
    return Training(
        prepared.config,
        prepared.compute,
        training_data,
        prepared.model,
        plan.steps,
        open_ended=plan.open_ended,
        forward=prepared.forward,
        ranks=ranks,
    )


def _finish(
    training: Training,
    folder: Path,
    show: Display,
    plan: Plan,
    known: list[dict[str, Any]] | None = None,
    ranks_before: int | None = None,
) -> Run:
    """Train to the last step and write the report, which is also written after a stop."""
    show.plan(plan, training.done)
    try:
        try:
            lead(training, training.ranks)
            controller = _run_controller(folder, training.config, plan, known, ranks_before)
            loop.run(training, folder, show, controller, _seconds_before(folder))
            record_steps(folder, training.done)
        finally:
            show.close()
        for line in final_notes.final_notes(folder):
            show.say(line)
    except KeyboardInterrupt as error:
        with suppress(Exception):  # the interrupt is reported, not a failure after it
            show.say(message := _stopped(training, folder))
            stopping.report(error, message)
            report.write(folder)
        raise
    except Failed as error:
        with suppress(Exception):
            report.write(folder)
        raise Failed(f"{error} ({_left(folder)})", code="training.failed") from error
    try:
        if line := report.write(folder):
            show.say(line)
    except OSError as error:
        cause = cannot_write(error.filename or folder, error, "check its permissions")
        raise Failed(
            f"{cause} (training is complete; write the report again with {resume_command(folder)})",
            code="training.no-report",
        ) from None
    return Run.load(folder, trust=True)  # its code has already run


def _stopped(training: Training, folder: Path) -> str:
    """Return the message after a stop: up to which step the run is saved."""
    if is_set_aside(folder) or not is_usable(folder, RUN):
        return f"stopped before the first checkpoint: {_left(folder)}"
    newest = max(training.saved, checkpoints.newest_step(folder / "training"))
    done = "stopped" if newest < training.done else "stopped and saved"
    saved = "" if newest == training.done else f", saved at step {newest}"
    again = resume_command(folder, ranks=training.ranks.count)
    return f"{done} at step {training.done} of {training.steps}{saved}: resume with {again}"


def _left(folder: Path) -> str:
    """Return what a folder contains after a run that failed."""
    if is_set_aside(folder):
        return f"the previous run in {folder} is restored"
    if not is_usable(folder, RUN):
        return "nothing was saved"
    return f"the last good checkpoint is in {folder}"


def _run_controller(
    folder: Path,
    config: TrainConfig,
    plan: Plan,
    known: list[dict[str, Any]] | None,
    ranks_before: int | None,
) -> RunController:
    """Return the controller of a run's end and number of threads."""
    timing, deadline = plan.timing, None
    if plan.open_ended and timing.budget_seconds is not None:
        deadline = Deadline(timing.budget_seconds, config.decay, timing.step_seconds)
    return RunController(
        folder,
        deadline=deadline,
        # The ranks do not decide together.
        thread_numbers=timing.thread_numbers if plan.compute.ranks == 1 else (),
        step_seconds=timing.step_seconds or None,
        known=known,
        ranks=plan.compute.ranks,
        ranks_before=ranks_before,
    )


def _seconds_before(folder: Path) -> float:
    records = metrics.read(folder / "metrics.jsonl")
    return max((r.get("seconds", 0.0) for r in records), default=0.0)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Set PyTorch's number of threads; 0: leave it unchanged."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
