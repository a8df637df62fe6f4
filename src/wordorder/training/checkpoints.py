"""Checkpoints that survive a kill at any moment, a full disk and a truncated file.

A checkpoint is a folder `training/step-N` with `state.safetensors` (weights and
optimizer) and `state.json` (step, checksum). It is written beside, flushed to the disk,
and renamed into place; the one before is kept until the next is whole. Everything
random is a function of (seed, step), so the step is all there is to say of the data's
position, the schedule and the random state.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from wordorder.atomic import replacing, replacing_folder
from wordorder.errors import BadInput

KEPT = 2
NAME = re.compile(r"step-\d{8,}")
STATE, WEIGHTS = "state.json", "state.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """What a run goes on from: the next step, and every tensor by name."""

    step: int
    tensors: dict[str, Tensor]
    extra: dict[str, Any]


def save(folder: Path, step: int, tensors: dict[str, Tensor], extra: dict[str, Any]) -> None:
    """Write a checkpoint and drop the oldest; an older one stays until this one is whole.

    The only one there is, of a run that is resumed before its first step, is not written again.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"step-{step:08d}"
    if step == 0 and _whole(target) is not None:
        return
    with replacing_folder(target) as beside:
        _save_tensors(beside / WEIGHTS, tensors)
        record = {"step": step, "sha256": digest(beside / WEIGHTS), **extra}
        (beside / STATE).write_text(json.dumps(record), encoding="utf-8")
    for old in _folders(folder)[:-KEPT]:
        with suppress(OSError):  # a file of someone else's stays
            for name in (STATE, WEIGHTS):
                (old / name).unlink(missing_ok=True)
            old.rmdir()


def load(folder: Path, say: Any = lambda line: None) -> Checkpoint:
    """Return the newest whole checkpoint; a damaged one is named and passed over.

    Raises:
        BadInput: where there is none.
    """
    for path in reversed(_folders(folder)):
        found = _whole(path, say)
        if found is not None:
            return found
    raise BadInput(f"{folder} holds no whole checkpoint: train again with --overwrite")


def save_weights(path: Path, tensors: dict[str, Tensor]) -> None:
    """Replace a safetensors file whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path) as beside:
        _save_tensors(beside, tensors)


def _folders(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, the newest last."""
    return sorted(path for path in folder.glob("step-*") if NAME.fullmatch(path.name))


def _whole(path: Path, say: Any = lambda line: None) -> Checkpoint | None:
    """Return a checkpoint; None where it is damaged, which is said."""
    try:
        record = json.loads((path / STATE).read_text(encoding="utf-8"))
        if digest(path / WEIGHTS) != record.pop("sha256"):
            raise ValueError("its checksum does not fit")
        return Checkpoint(int(record.pop("step")), load_file(path / WEIGHTS), record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        say(f"checkpoint {path} is damaged ({error}): going back to the one before")
        return None


def _save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    try:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, path)
    except SafetensorError as error:  # no OSError, though it is one: "... (os error 28)"
        number = re.search(r"os error (\d+)", str(error))
        code = int(number[1]) if number else errno.EIO
        raise OSError(code, os.strerror(code) if number else str(error), str(path)) from None


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
