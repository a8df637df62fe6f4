"""One run of a comparison: trained or resumed, then measured.

The result is an ordinary run folder, which every other command can read, plus `measures.json`, the
stored result of the job: the measurements that the comparison needs. An existing run is not trained
again, even if the comparison now needs other measurements.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from wordorder.errors import BadInput
from wordorder.evaluation.context import context_losses
from wordorder.evaluation.loss import evaluate
from wordorder.evaluation.order import order_losses
from wordorder.experiments.calibration import as_job, config_of
from wordorder.experiments.document_losses import document_losses, grouped
from wordorder.experiments.jobs import SECONDS_TO_SAVE, Settings, Tell, check_code
from wordorder.locks import held
from wordorder.model import TokenModel
from wordorder.text.store import TokenStore, beginning
from wordorder.training import loop
from wordorder.training.compute import DTYPES, Compute
from wordorder.training.config import TEXTS, TrainConfig
from wordorder.training.display import Display
from wordorder.training.metrics import read
from wordorder.training.record import record_texts
from wordorder.training.recorded import read_recorded
from wordorder.training.run import Run
from wordorder.training.start import resume_in_held_folder, train_in_held_folder
from wordorder.training.training_data import (
    TrainingData,
    choosing_text,
    read_training_data,
    tokenizer_of,
)
from wordorder.training.validation import validation_record, validation_tokens

MEASURES = "measures.json"
# `measure` of a run that only selects a learning rate
CHOOSING = {"choose": True}
CHOOSING_BY_PARTS = {"choose": True, "parts": True}  # of a mixture
LATE_STEPS = 20  # the training loss is the mean over the last 1/20 of the steps
TRAINING_SHARE = 0.8  # share of the job's progress that training takes; measuring takes the rest
# Settings that do not change the weights: where the run is written, and how it is saved, logged and
# computed.
INDIFFERENT: dict[str, Any] = {
    "out": None,
    "overwrite": False,
    "keep": "last",
    "checkpoint_every": 0,
    "sample_prompt": "",
    "tensorboard": False,
    "threads": 0,
}


def train_and_measure(job: Settings, tell: Tell) -> dict[str, Any]:
    """Train a run unless it is already trained, and return its measurements.

    Args:
        job: `training` and `model` as JSON, `machine`, `folder`, `command`, and `measure`: what to
            measure (see `measures_of`), `CHOOSING` (of a mixture `CHOOSING_BY_PARTS`), or None for
            the validation loss alone.
        tell: called with the fraction done and a line of progress.
    """
    folder = Path(job["folder"])
    check_code(job["model"]["position"], job.get("code"))
    run, peak = _trained(folder, job, tell)
    if job["measure"] is None:
        return {"validation_loss": _final(folder)["validation_loss"]}
    if job["measure"] in (CHOOSING, CHOOSING_BY_PARTS):
        return choice_of(run)
    results = measures_of(run, job["measure"], lambda share: _tell_measuring(tell, share))
    results["peak_bytes"] = peak or recorded_peak(folder)
    return results


def recorded_peak(folder: Path) -> int | None:
    """Return the peak memory of training as an earlier job measured it; None if unknown."""
    try:
        record = json.loads((folder / MEASURES).read_text(encoding="utf-8"))
        peak: int | None = record.get("result", record.get("measures"))["peak_bytes"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return peak


def measures_of(
    run: Run, settings: dict[str, Any], tell: Callable[[float], None]
) -> dict[str, Any]:
    """Return a run's validation loss, and its losses by context length and with disturbed order.

    Args:
        settings: `lengths` in tokens, for disjoint windows; `contexts`, the lengths measured on the
            same targets; and `pack`, whether these contexts may cross documents. `by_document` adds
            the losses of single documents, the curve up to the last step, and the training loss.
        tell: called with the fraction done.
    """
    config = config_of(run.config)
    material = read_training_data(config, tokenizer_of(run.folder), run.chat)
    store, model, trained = material.validation, run.model, config.model.trained_length
    model.compute_dtype = DTYPES[run.config["machine"]["dtype"]]  # as its validation loss
    last = _final(run.folder)
    results = {
        "validation_loss": last["validation_loss"],
        "bits_per_byte": last["validation_bits_per_byte"],
        "validation_tokens": last["validation_tokens"],
        "curve": _curve(run.folder),
    }
    if settings.get("by_document"):
        results |= _in_detail(run, material)
    results["same_targets"] = _same_targets(
        model, store, settings, trained, lambda s: tell(0.5 * s)
    )
    results["whole_windows"] = [
        _whole(model, store, length, trained, config.isolate_documents)
        for length in settings["lengths"]
    ]
    tell(0.9)
    order = order_losses(model, store, trained_length=trained)
    results["order"] = [
        {
            "change": probe.name,
            "meaning": probe.meaning,
            "plain": order.loss_nats,
            **({"cannot": probe.cannot} if probe.cannot else {"loss": probe.loss_nats}),
        }
        for probe in order.probes
    ]
    tell(1.0)
    return results


def choice_of(run: Run) -> dict[str, Any]:
    """Return the loss that selects a learning rate, and the text it was measured on.

    This is the development text if the split has one, so that the reported text selects nothing.
    For a mixture it is the mean over its parts, weighted as in training.
    """
    config, model = config_of(run.config), run.model
    material = read_training_data(config, tokenizer_of(run.folder), run.chat)
    model.compute_dtype = DTYPES[run.config["machine"]["dtype"]]
    most = loop.FINAL_VALIDATION_TOKENS
    record = validation_record(model, config, material, most, final=False)
    return {"validation_loss": record["validation_loss"], "text": record["text"]}


def _in_detail(run: Run, material: TrainingData) -> dict[str, Any]:
    """Return the loss of each document, the curve up to the last step, and the training loss."""
    config = config_of(run.config)
    whole = beginning(material.validation, loop.FINAL_VALIDATION_TOKENS, material.tokenizer)
    text = _curve_text(run.folder)
    read_on = choosing_text(material) if text == "development" else material.validation
    end = _loss(run, material, read_on, validation_tokens(config))
    records = [r for r in read(run.folder / "metrics.jsonl") if "loss" in r]
    late = [r["loss"] for r in records[-max(1, len(records) // LATE_STEPS) :]]
    last = records[-1]["tokens"]  # `end` replaces a validation at the last step
    return {
        "curve": [*(point for point in _curve(run.folder) if point[0] < last), (last, end)],
        "curve_text": text,
        "training_loss": math.fsum(late) / len(late),
        "by_document": document_losses(
            run.model,
            whole,
            context_length=config.model.trained_length,
            isolate_documents=config.isolate_documents,
        ),
    }


def _loss(run: Run, material: TrainingData, store: TokenStore, most_tokens: int) -> float:
    """Return the loss on the first tokens of a text, computed as in training."""
    config, model = config_of(run.config), run.model
    model.compute_dtype = DTYPES[run.config["machine"]["dtype"]]
    return evaluate(
        model,
        beginning(store, most_tokens, material.tokenizer),
        context_length=config.model.trained_length,
        isolate_documents=config.isolate_documents,
        objective=config.objective,
        mask_id=material.tokenizer.mask,
    ).loss_nats


def _same_targets(
    model: TokenModel,
    store: TokenStore,
    settings: dict[str, Any],
    trained: int,
    tell: Callable[[float], None],
) -> dict[str, Any] | None:
    """Return the loss of the same targets at every length that the text can measure."""
    if not settings["contexts"]:
        return None
    losses = context_losses(
        model,
        store,
        settings["contexts"],
        trained_length=trained,
        across_documents=settings["pack"],
        progress=tell,
    )
    lengths = []
    for part in losses.lengths:
        at = _at(part.context_length, trained, part.loss_nats, part.cannot)
        if settings.get("by_document") and not part.cannot:
            at["by_document"] = grouped(part.window_losses, losses.window_documents)
        lengths.append(at)
    return {"targets": losses.targets, "documents": losses.documents, "lengths": lengths}


def _at(length: int, trained: int, loss: float | None, cannot: str | None) -> dict[str, Any]:
    outcome = {"cannot": cannot} if cannot else {"loss": loss}
    return {"factor": length / trained, "length": length, **outcome}


def _whole(
    model: TokenModel, store: TokenStore, length: int, trained: int, isolate: bool
) -> dict[str, Any]:
    """Return the loss over windows of one length, or why there is none."""
    try:
        loss = evaluate(model, store, context_length=length, isolate_documents=isolate)
    except BadInput as error:
        return _at(length, trained, None, str(error))
    return {**_at(length, trained, loss.loss_nats, None), "windows": loss.windows}


class Told(Display):
    """Tells a training run's steps as shares of the whole job."""

    def __init__(self, tell: Tell) -> None:
        self.tell, self.steps = tell, 1

    def plan(self, plan: Any, done: int) -> None:
        self.steps = plan.steps

    def step(self, record: dict[str, Any], seconds_left: float) -> None:
        done = record["step"]
        if done % max(1, self.steps // 100) == 0:
            rate = f"{record['tokens_per_second']:,.0f} tokens/s"
            line = f"step {done:,}/{self.steps:,}  loss {record['loss']:.3f}  {rate}"
            self.tell(TRAINING_SHARE * done / self.steps, line)


def _tell_measuring(tell: Tell, share: float) -> None:
    tell(TRAINING_SHARE + (1 - TRAINING_SHARE) * share, "measuring")


def _trained(folder: Path, job: Settings, tell: Tell) -> tuple[Run, int | None]:
    """Return the run, and the peak memory of this process if it trained it (otherwise None)."""
    with held(folder, wait=SECONDS_TO_SAVE):  # the run of a killed command may still be saving
        anew = _is_another_run(folder, job)
        if not anew and is_trained(folder):
            if job.get("text") is not None:  # it was compared, so it may have been moved
                record_texts(folder, config_of(job))
            if (there := _readable(folder)) is not None:
                return there, None
        run = _train(folder, job, Told(tell), anew=anew)
    return run, _peak_bytes()


def _readable(folder: Path) -> Run | None:
    """Return the run in a folder; None if its weights are damaged: the checkpoint restores them."""
    with suppress(BadInput):
        run = Run.load(folder, trust=True)
        assert run.model is not None  # reads the weights
        return run
    return None


def is_trained(folder: Path) -> bool:
    """Return whether the run in a folder has done its last step."""
    return any("final" in record for record in read(folder / "metrics.jsonl"))


def _is_another_run(folder: Path, job: Settings) -> bool:
    """Whether the run in a folder has another text, settings or code than the job."""
    try:
        recorded = read_recorded(folder, "data")
        if job.get("text") not in (None, recorded["data"]["content_hash"]):
            return True
        if job.get("code") not in (None, recorded.get("code")):
            return True
        asked = recorded.get("asked")  # None: the run of an earlier version, which is kept
        return asked is not None and _decisive(asked) != _decisive(job)
    except (OSError, BadInput, KeyError, TypeError):
        return False


def _decisive(job: Settings) -> TrainConfig:
    """Return a job's configuration with settings that do not affect the weights reset."""
    # Texts are compared by their contents, so that they may be moved.
    texts = {name: getattr(TrainConfig, name) for name in TEXTS}
    return replace(config_of(job), **INDIFFERENT, **texts)


def _train(folder: Path, job: Settings, show: Display, *, anew: bool) -> Run:
    """Train, or go on, in a folder whose lock is held."""
    config = config_of(job)
    if not anew and any(folder.glob("training/step-*")):
        texts = {name: getattr(config, name) for name in TEXTS} if job.get("text") else None
        return resume_in_held_folder(folder, inexact=False, trust=True, show=show, texts=texts)
    # Comparisons evaluate the last step, not the best one.
    config = replace(config, out=str(folder), overwrite=True, keep="last")
    return train_in_held_folder(
        config,
        compute=Compute(**job["machine"]),
        show=show,
        command=job["command"],
        trust=True,
        about={"asked": as_job(config)},  # as requested; `model` and `training` are as resolved
    )


def _peak_bytes() -> int:
    """Return the peak memory of this process so far, in bytes.

    On Linux `getrusage` is not used: its peak starts at that of the parent process.
    """
    with suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        if peak := re.search(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE):
            return 1024 * int(peak[1])
    unit = 1 if sys.platform == "darwin" else 1024
    import resource  # not on Windows

    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _validations(folder: Path) -> list[dict[str, Any]]:
    return [r for r in read(folder / "metrics.jsonl") if "validation_loss" in r]


def _final(folder: Path) -> dict[str, Any]:
    """Return the record of the validation after the last step."""
    return [r for r in _validations(folder) if "final" in r][-1]


def _curve_text(folder: Path) -> str:
    """Return the text that was validated during training, of which only the beginning is read."""
    texts = [r.get("text", "validation") for r in _validations(folder) if "final" not in r]
    return texts[-1] if texts else "validation"


def _curve(folder: Path) -> list[tuple[int, float]]:
    """Return (tokens, loss) of each validation during training.

    The validation after the last step is left out: it covers all of the held-out text, the others
    only its beginning.
    """
    records = read(folder / "metrics.jsonl")
    tokens = {r["step"]: r["tokens"] for r in records if "loss" in r}
    return [
        (tokens[r["step"]], r["validation_loss"]) for r in _validations(folder) if "final" not in r
    ]
