"""The records of an extended run: its parent in `config.json`, results in `extension.json`.

`config.json` records the parent, hashes of its weights and text, and the method. `extension.json`
holds results that can be measured again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from wordorder.atomic import write_text
from wordorder.errors import BadInput
from wordorder.extension.methods import Stretch, respelled
from wordorder.extension.reach import RunMeasurements
from wordorder.model import ModelConfig
from wordorder.training.checkpoints import digest
from wordorder.training.run import Run
from wordorder.version import __version__

RECORD = "extension.json"


def about(parent: Run, method: str, old: int, new: int, **settings: Any) -> dict[str, Any]:
    """Return the entry about the extension in `config.json`.

    Args:
        settings: further settings that are needed to measure the run later.
    """
    return {
        "parent": str(parent.folder.resolve()),
        "parent_weights": _weights_digest(parent.folder),
        "parent_data": parent.config["data"],
        "method": method,
        "from_length": old,
        "to_length": new,
        **settings,
    }


def extension_of(run: Run) -> dict[str, Any]:
    """Return the entry about the extension in a run's `config.json`.

    Raises:
        BadInput: the run was not extended.
    """
    entry = run.config.get("extension")
    if entry is None:
        raise BadInput(
            f"{run.folder} was not created by wordorder extend: give a length with --to",
            code="extension.not-extended",
        )
    return dict(entry)


def trained_as(run: Run) -> ModelConfig:
    """Return the model that a run's weights were trained as.

    An extension without training has its parent's weights, so methods compute from the parent's
    embedding and length, however often it is extended.
    """
    was = run.config.get("extension", {}).get("trained_as", {})
    return replace(run.model_config, **was)


def described(trained: ModelConfig) -> dict[str, Any]:
    """Return what `trained_as` reads from the entry of an extension without training."""
    length = trained.trained_length
    spec = respelled("unchanged", trained, Stretch(length, length, trained.rotated_dim))
    return {"trained_as": {"position": spec, "trained_length": length}}


def find_parent(run: Run, folder: str | None, *, trust: bool = False) -> Run:
    """Return the run that another was extended from.

    Args:
        folder: its folder now; None: the recorded one.

    Raises:
        BadInput: the folder is missing, or its weights have changed.
    """
    entry = extension_of(run)
    parent_folder = Path(folder or entry["parent"])
    if not parent_folder.is_dir():
        raise BadInput(
            f"{run.folder} was extended from {parent_folder}, which does not exist any more: give "
            "its new place with --parent FOLDER",
            code="extension.parent-missing",
        )
    parent = Run.load(parent_folder, trust=trust)
    if _weights_digest(parent_folder) != entry["parent_weights"]:
        raise BadInput(
            f"{parent_folder} no longer holds the weights that {run.folder} was extended from: "
            "give the folder that does with --parent FOLDER",
            code="extension.parent-changed",
        )
    return parent


def _weights_digest(folder: Path) -> str:
    return digest(folder / "model.safetensors")


def write(run: Run, before: RunMeasurements, after: RunMeasurements) -> None:
    """Write `extension.json` with the measurements."""
    record = {
        "wordorder": __version__,
        **extension_of(run),
        "before": asdict(before),
        "after": asdict(after),
    }
    write_text(run.folder / RECORD, json.dumps(record, indent=1) + "\n")
