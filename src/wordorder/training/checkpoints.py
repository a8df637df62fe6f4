"""Checkpoints that survive a kill at any moment, a full disk and a truncated file.

A checkpoint is a folder `training/step-N` with `state.safetensors` (weights and
optimizer) and `state.json` (step, checksum). It is written beside, flushed to the disk,
and renamed into place; the one before is kept until the next is whole. Everything
random is a function of (seed, step), so the step is all there is to say of the data's
position, the schedule and the random state.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from wordorder.atomic import flush, replacing
from wordorder.errors import BadInput

KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """What a run goes on from: the next step, and every tensor by name."""

    step: int
    tensors: dict[str, Tensor]
    extra: dict[str, Any]


def save(folder: Path, step: int, tensors: dict[str, Tensor], extra: dict[str, Any]) -> None:
    """Write a checkpoint and drop the oldest; an older one stays until this one is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".writing-{os.getpid()}"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        state = beside / "state.safetensors"
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, state)
        record = {"step": step, "sha256": digest(state), **extra}
        (beside / "state.json").write_text(json.dumps(record), encoding="utf-8")
        for path in (state, beside / "state.json", beside):
            flush(path)
        target = folder / f"step-{step:08d}"
        shutil.rmtree(target, ignore_errors=True)
        beside.rename(target)
        flush(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    for old in sorted(folder.glob("step-*"))[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def load(folder: Path, say: Any = lambda line: None) -> Checkpoint:
    """Return the newest whole checkpoint; a damaged one is named and passed over.

    Raises:
        BadInput: where there is none.
    """
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            record = json.loads((path / "state.json").read_text(encoding="utf-8"))
            state = path / "state.safetensors"
            if digest(state) != record.pop("sha256"):
                raise ValueError("its checksum does not fit")
            record_step = int(record.pop("step"))
            return Checkpoint(record_step, load_file(state), record)
        except (OSError, ValueError, KeyError) as error:
            say(f"checkpoint {path} is damaged ({error}): going back to the one before")
    raise BadInput(f"{folder} holds no whole checkpoint: train again with --overwrite")


def save_weights(path: Path, tensors: dict[str, Tensor]) -> None:
    """Replace a safetensors file whole or not at all."""
    with replacing(path) as beside:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, beside)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
