"""The record of a run, `config.json`, and the folder it stands in: checked, written, read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wordorder.atomic import cannot_write, write_text
from wordorder.errors import BadInput
from wordorder.folders import check_free, own_files
from wordorder.model.config import ModelConfig
from wordorder.text.user_text import user_path
from wordorder.training import checkpoints
from wordorder.training.compute import Compute
from wordorder.training.config import TrainConfig, folder_of
from wordorder.training.plan import Plan
from wordorder.training.recorded import naming_damage, read_recorded
from wordorder.training.run import RUN
from wordorder.training.training_data import TrainingData
from wordorder.version import __version__


def read_record(folder: Path) -> dict[str, Any]:
    """Return what `config.json` of a run folder holds.

    Raises:
        BadInput: where it is missing, damaged, or not of a training run.
    """
    if not folder.is_dir():
        raise BadInput(f"no run folder {folder}: train one with wordorder train --out {folder}")
    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise BadInput(f"{folder} is no whole run: {name} is missing")
    return read_recorded(folder, *RUN.keys)


def free_folder(config: TrainConfig) -> Path:
    """Return the run folder, whose lock must be held, where a run may begin in it.

    Raises:
        BadInput: a run that is there already and not to be overwritten, or something else.
    """
    folder = folder_of(config)
    remedy = (
        f"go on with it by --resume {folder}, replace it by --overwrite, or choose another --out"
    )
    check_free(folder, RUN, overwrite=config.overwrite, remedy=remedy)
    if config.init and user_path(config.init).resolve() == folder.resolve():
        raise BadInput(f"--init {config.init} would overwrite itself: choose another --out")
    theirs = {path.resolve() for path in own_files(folder, RUN)}
    for name in config.data:
        if user_path(name).resolve() in theirs:
            raise BadInput(f"--data {name} is of the run that would go: choose another --out")
    return folder


def write_folder(
    folder: Path,
    config: TrainConfig,
    training_data: TrainingData,
    compute: Compute,
    plan: Plan,
    about: Mapping[str, Any],
) -> None:
    """Write what every command reads; the record first, by which the folder is known.

    Args:
        about: what else `config.json` is to say.
    """
    record = {
        "wordorder": __version__,
        **about,
        "model": config.model.resolved.to_dict(),
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
    with naming_damage(folder / "training"):
        saved = ModelConfig.from_dict(checkpoint.extra["model"]).to_dict()
    now = model.resolved.to_dict()
    differs = [name for name in now if saved.get(name) != now[name]]
    if differs:
        name = differs[0]
        raise BadInput(
            f"{folder / 'config.json'} says {name} {now[name]}, the checkpoint was made with "
            f"{saved.get(name)}: a run goes on with its own architecture; for another, train anew"
        )


def record_steps(folder: Path, steps: int) -> None:
    """Write how many steps a run that is done has taken; the plan keeps the estimate."""
    path = folder / "config.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    if record["steps"] != steps:
        write_text(path, json.dumps({**record, "steps": steps}, indent=1) + "\n")
