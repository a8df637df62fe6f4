"""What a run that was extended says of itself, and how it finds its parent again.

`config.json` holds which parent, its weights and its text, and which method; `extension.json` what
was tried and measured, and nothing that could not be measured again.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wordorder.atomic import write_text
from wordorder.errors import BadInput
from wordorder.extension.reach import Reach
from wordorder.training.checkpoints import digest
from wordorder.training.run import Run
from wordorder.version import __version__

RECORD = "extension.json"


def about(parent: Run, method: str, old: int, new: int, **asked: Any) -> dict[str, Any]:
    """Return what `config.json` of an extended run says of where it comes from.

    Args:
        asked: what else is needed to measure it later.
    """
    return {
        "parent": str(parent.folder.resolve()),
        "parent_weights": _weights_digest(parent.folder),
        "parent_data": parent.config["data"],
        "method": method,
        "from_length": old,
        "to_length": new,
        **asked,
    }


def extension_of(run: Run) -> dict[str, Any]:
    """Return what a run says of where it comes from.

    Raises:
        BadInput: a run that was not extended.
    """
    found = run.config.get("extension")
    if found is None:
        raise BadInput(f"{run.folder} was not made by wordorder extend: give it a --to")
    return dict(found)


def find_parent(run: Run, folder: str | None, *, trust: bool = False) -> Run:
    """Return the run that another was extended from.

    Args:
        folder: where it is now; None: where it was.

    Raises:
        BadInput: none there, or one with other weights.
    """
    found = extension_of(run)
    place = Path(folder or found["parent"])
    if not place.is_dir():
        raise BadInput(
            f"{run.folder} was extended from {place}, which is not there any more: "
            "say where it is by --parent FOLDER"
        )
    parent = Run.load(place, trust=trust)
    if _weights_digest(place) != found["parent_weights"]:
        raise BadInput(
            f"{place} no longer holds the weights that {run.folder} was extended from: "
            "give the folder that does by --parent FOLDER"
        )
    return parent


def _weights_digest(folder: Path) -> str:
    return digest(folder / "model.safetensors")


def write(run: Run, before: Reach, after: Reach) -> None:
    """Write what was measured beside what was tried."""
    record = {
        "wordorder": __version__,
        **extension_of(run),
        "before": asdict(before),
        "after": asdict(after),
    }
    write_text(run.folder / RECORD, json.dumps(record, indent=1) + "\n")
