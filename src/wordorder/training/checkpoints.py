"""Checkpoints that survive a kill at any moment, a full disk and a truncated file.

A checkpoint is a folder `training/step-N` with `state.safetensors` (weights and optimizer) and
`state.json` (step, checksums); the ranks of a split model write the optimizer in parts. It is
written to a temporary folder, flushed to the disk and renamed; the previous checkpoint stays until
the new one is complete. During a run a thread writes it from a copy (`Training.snapshot`) while
training goes on. Batches, dropout and the schedule are functions of (seed, step), so the step is
the only state to save besides the tensors.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from wordorder.atomic import new_unfinished_folder, replacing, replacing_folder
from wordorder.errors import BadInput
from wordorder.training.moved_text import init_command
from wordorder.training.parts import RankParts, read_parts

KEPT = 2
NAME = re.compile(r"step-\d{8,}")
STATE, WEIGHTS = "state.json", "state.safetensors"
PARTS = "shard-*.safetensors"  # as PyTorch names them
MODEL_PREFIX = "model."  # of the names of the weights


@dataclass(frozen=True)
class Checkpoint:
    """The state to resume from: number of steps done, tensors by name, and JSON values."""

    step: int
    tensors: dict[str, Tensor]
    extra: dict[str, Any]


@dataclass(frozen=True)
class UnwrittenCheckpoint(Checkpoint):
    """A checkpoint to write, and the weights for other commands, by name."""

    weights: dict[str, Tensor]
    parts: RankParts | None = None  # of a split model; all ranks write them together

    def write(self, folder: Path) -> None:
        """Write the checkpoint and the weights into a run folder.

        Raises:
            OSError: a file cannot be written.
        """
        parts = self.parts.folder if self.parts else None
        try:
            if self.parts:
                self.parts.write()
            save(folder / "training", self.step, self.tensors, self.extra, parts)
        finally:
            if parts:
                shutil.rmtree(parts, ignore_errors=True)
        save_weights(folder / "model.safetensors", self.weights)


def not_finite(weights: Mapping[str, Tensor]) -> str | None:
    """Return the name of a weight that is not finite; None if all are."""
    return next((name for name, w in weights.items() if not bool(w.isfinite().all())), None)


def save(
    folder: Path,
    step: int,
    tensors: dict[str, Tensor],
    extra: dict[str, Any],
    parts: Path | None = None,
) -> None:
    """Write a checkpoint, then remove all but the newest two.

    The checkpoint of step 0 is not written again when a run is resumed before its first step.

    Args:
        parts: a folder of files that ranks have written, which are moved into the checkpoint.

    Raises:
        OSError: the checkpoint cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"step-{step:08d}"
    if step == 0 and _whole(target) is not None:
        return
    with replacing_folder(target) as beside:
        _save_tensors(beside / WEIGHTS, tensors)
        record = {"step": step, "sha256": digest(beside / WEIGHTS), **extra}
        if parts is not None:
            for file in parts.glob(PARTS):
                file.rename(beside / file.name)
            record["parts"] = {path.name: digest(path) for path in sorted(beside.glob(PARTS))}
        (beside / STATE).write_text(json.dumps(record), encoding="utf-8")
    for old in _folders(folder)[:-KEPT]:
        _remove(old)


def remove_after(folder: Path, step: int) -> None:
    """Remove the checkpoints after a step, which are damaged if the one of that step was loaded."""
    for path in _folders(folder):
        if _step_of(path) > step:
            _remove(path)


def _remove(checkpoint: Path) -> None:
    with suppress(OSError):  # a user's file in the folder stays
        for path in (checkpoint / STATE, checkpoint / WEIGHTS, *checkpoint.glob(PARTS)):
            path.unlink(missing_ok=True)
        checkpoint.rmdir()


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def folder_for_parts(run_folder: Path) -> Path:
    """Create an empty folder for the parts of a checkpoint; a resumed run removes it after a kill.

    Raises:
        OSError: it cannot be created.
    """
    folder = run_folder / "training"
    folder.mkdir(parents=True, exist_ok=True)
    return new_unfinished_folder(folder)


def load(folder: Path, say: Any = lambda line: None) -> Checkpoint:
    """Return the newest complete checkpoint.

    Args:
        say: called with a message for each damaged checkpoint that is skipped.

    Raises:
        BadInput: there is no complete checkpoint.
    """
    for path in reversed(_folders(folder)):
        checkpoint = _whole(path, say)
        if checkpoint is not None:
            return checkpoint
    remedy = "train again with --overwrite"
    run = folder.parent
    if (run / "model.safetensors").exists():  # of an extension without training, for example
        remedy = f"train from its weights with {init_command(run)}"
    raise BadInput(
        f"{run} has no complete checkpoint, so it cannot be resumed: {remedy}",
        code="training.no-checkpoint",
    )


def newest_step(folder: Path) -> int:
    """Return the step of the newest checkpoint, which is complete; 0 without one."""
    return max(map(_step_of, _folders(folder)), default=0)


def newest_weights(folder: Path) -> tuple[int, dict[str, Tensor]] | None:
    """Return the step and weights of the newest checkpoint; the run may still be training.

    These are not the best weights so far, which are in `model.safetensors`. None before the first
    checkpoint.
    """
    for path in reversed(_folders(folder)):
        try:
            with safe_open(path / WEIGHTS, "pt") as tensors:
                names = [n for n in list(tensors.keys()) if n.startswith(MODEL_PREFIX)]
                weights = {
                    name.removeprefix(MODEL_PREFIX): tensors.get_tensor(name) for name in names
                }
        except (OSError, SafetensorError):  # removed meanwhile, or damaged
            continue
        return _step_of(path), weights
    return None


def save_weights(path: Path, tensors: dict[str, Tensor]) -> None:
    """Replace a safetensors file atomically.

    Raises:
        OSError: the file cannot be written.
    """
    with replacing(path) as beside:
        _save_tensors(beside, tensors)


def _folders(folder: Path) -> list[Path]:
    """Return the checkpoint folders, the newest last."""
    return sorted(path for path in folder.glob("step-*") if NAME.fullmatch(path.name))


def _whole(path: Path, say: Any = lambda line: None) -> Checkpoint | None:
    """Return a checkpoint, or None if it is damaged, after calling `say`."""
    try:
        record = json.loads((path / STATE).read_text(encoding="utf-8"))
        parts = record.pop("parts", {})
        for name, sha256 in {WEIGHTS: record.pop("sha256"), **parts}.items():
            if digest(path / name) != sha256:
                raise ValueError("its checksum is wrong")
        tensors = load_file(path / WEIGHTS)
        if parts:
            tensors |= read_parts(path, without=tensors.keys())
        return Checkpoint(int(record.pop("step")), tensors, record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        say(f"checkpoint {path} is damaged ({error}): resuming from the one before")
        return None


def _save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    try:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, path)
    except SafetensorError as error:  # hides the OSError: "... (os error 28)"
        number = re.search(r"os error (\d+)", str(error))
        code = int(number[1]) if number else errno.EIO
        raise OSError(code, os.strerror(code) if number else str(error), str(path)) from None


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
