"""Writes, reads and checks `config.json`, the record of a run, and its folder."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wordorder.atomic import cannot_write, write_text
from wordorder.errors import BadInput
from wordorder.folders import check_free, own_files
from wordorder.model.config import ModelConfig
from wordorder.positions import code_of
from wordorder.text.data_names import weighted_name
from wordorder.text.user_text import user_path
from wordorder.training import checkpoints
from wordorder.training.compute import Compute
from wordorder.training.config import TEXTS, TrainConfig, folder_of
from wordorder.training.plan import Plan
from wordorder.training.recorded import (
    check_has_run,
    check_run_folder,
    naming_damage,
    read_recorded,
)
from wordorder.training.run import RUN
from wordorder.training.training_data import TrainingData
from wordorder.version import __version__


def read_record(folder: Path) -> dict[str, Any]:
    """Return the contents of `config.json` in a run folder.

    Raises:
        BadInput: the file is missing, damaged, or not of a training run.
    """
    check_run_folder(folder)
    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            check_has_run(folder)
            raise BadInput(
                f"{folder} is not a complete run folder: {name} is missing; train again with "
                "--overwrite",
                code="training.record-missing",
            )
    return read_recorded(folder, *RUN.keys)


def free_folder(config: TrainConfig) -> Path:
    """Return the run folder, whose lock must be held, after checking that it is free.

    Raises:
        BadInput: the folder holds a run and `overwrite` is not set, holds other files, or holds
            the data or the first run.
    """
    folder = folder_of(config)
    quoted = shlex.quote(str(folder))
    remedy = (
        f"resume it with --resume {quoted}, replace it with --overwrite, or choose another --out"
    )
    check_free(folder, RUN, overwrite=config.overwrite, remedy=remedy)
    old_files = {_whole(path) for path in own_files(folder, RUN)}
    if config.init:  # the run itself, or one of its checkpoints by words
        weights = user_path(config.init) / "model.safetensors"
        if _whole(config.init) == _whole(folder) or _whole(weights) in old_files:
            raise BadInput(
                f"{config.init}, where training starts from, would be overwritten: choose another "
                "--out",
                code="training.init-overwritten",
            )
    given = (*config.data, *config.validation_data, *config.development_data)
    for name in (weighted_name(text).name for text in given):
        if _whole(name) in old_files:
            raise BadInput(
                f"{name} belongs to the run to be overwritten: choose another --out",
                code="training.data-overwritten",
            )
    return folder


def _whole(name: str | Path) -> str:
    return os.path.realpath(user_path(name))  # does not raise for a link that points to itself


def write_folder(
    folder: Path,
    config: TrainConfig,
    training_data: TrainingData,
    compute: Compute,
    plan: Plan,
    about: Mapping[str, Any],
) -> None:
    """Write the record, which identifies the folder, and then the tokenizer.

    Args:
        about: further entries of `config.json`.

    Raises:
        BadInput: the folder cannot be written.
    """
    record = {
        "wordorder": __version__,
        **about,
        "model": config.model.resolved.to_dict(),
        **({} if (code := code_of(config.model.position)) is None else {"code": code}),
        "training": config.to_dict(),
        "machine": compute.to_dict(),
        "steps": plan.steps,
        "plan": plan.to_dict(),
        "data": training_data.facts,
    }
    try:
        write_text(folder / "config.json", json.dumps(record, indent=1) + "\n")
        training_data.tokenizer.save(folder / "tokenizer.json")
    except OSError as error:
        raise cannot_write(folder, error, "choose another --out") from None


def check_architecture(
    folder: Path, model: ModelConfig, checkpoint: checkpoints.Checkpoint
) -> None:
    """Check that the model in config.json is that of the checkpoint.

    Raises:
        BadInput: someone changed the model in config.json.
    """
    with naming_damage(folder / "training"):
        saved = ModelConfig.from_dict(checkpoint.extra["model"]).to_dict()
    now = model.resolved.to_dict()
    differs = [name for name in now if saved.get(name) != now[name]]
    if differs:
        name = differs[0]
        raise BadInput(
            f"{name} is {now[name]} in {folder / 'config.json'}, but {saved.get(name)} in the "
            "checkpoint: a run cannot be resumed with another architecture; restore the value, or "
            "train a new run",
            code="training.other-architecture",
        )


def record_texts(folder: Path, config: TrainConfig) -> None:
    """Record the new paths of a run's texts; the caller has checked that the contents match.

    Raises:
        BadInput: the folder cannot be written.
        Failed: there is no room.
    """
    path = folder / "config.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    names = {n: value for n, value in config.to_dict().items() if n in TEXTS}
    if {**record["training"], **names} == record["training"]:
        return
    record["training"] |= names
    try:
        write_text(path, json.dumps(record, indent=1) + "\n")
    except OSError as error:
        raise cannot_write(path, error, "check its permissions") from None


def record_steps(folder: Path, steps: int) -> None:
    """Record the number of steps of a finished run; the plan keeps the estimate."""
    path = folder / "config.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    if record["steps"] != steps:
        write_text(path, json.dumps({**record, "steps": steps}, indent=1) + "\n")
