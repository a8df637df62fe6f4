"""`metrics.jsonl`: one JSON object per line for every step, validation and sample of a run.

The plot, the samples and the model card are generated from it. Lines are buffered for a few steps,
and written before the checkpoint that includes their steps. Resuming removes the lines after the
checkpoint, so no step is recorded twice.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wordorder.atomic import write_text
from wordorder.errors import BadInput

HELD_BACK = 10  # lines in the buffer
# Fields that depend on the speed of the machine, and differ between two equal runs.
TIMING_FIELDS = ("seconds", "tokens_per_second")


class Metrics:
    """The growing record of a run, with TensorBoard events if requested."""

    def __init__(self, folder: Path, *, tensorboard: bool = False) -> None:
        self.path = folder / "metrics.jsonl"
        # Bytes of complete lines in the file, and the buffered lines after them.
        self.kept: tuple[int, list[str]] = (self._size(), [])
        self.events = _events(folder / "tensorboard") if tensorboard else None

    def add(self, record: dict[str, Any]) -> None:
        """Add one line; `step` in it counts the steps that are done."""
        self.kept[1].append(json.dumps(record))
        if self.events is not None:
            for name, value in record.items():
                if isinstance(value, float):
                    self.events.add_scalar(name, value, record["step"])
        if len(self.kept[1]) >= HELD_BACK:
            self.flush()

    def flush(self) -> None:
        """Write the buffered lines; remains of an earlier failed attempt are cut off first.

        Raises:
            OSError: the file cannot be written.
        """
        size, waiting = self.kept
        if waiting:
            text = "".join(f"{line}\n" for line in waiting).encode()
            with self.path.open("ab") as file:
                file.truncate(size)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            self.kept = (size + len(text), [])  # one assignment, so an interrupt repeats no line
        if self.events is not None:
            self.events.flush()

    def cut(self, step: int, validated: int | None = None) -> None:
        """Remove lines after a checkpoint, and a line that a kill left incomplete.

        Args:
            step: the number of steps done at the checkpoint.
            validated: the step of the last validation before it; None: keep those up to `step`.
        """
        records = read(self.path, needed=step)
        remaining = [r for r in records if r["step"] <= step and "final" not in r]
        # A decision at this step is repeated and recorded again.
        remaining = [r for r in remaining if "decision" not in r or r["step"] < step]
        if validated is not None:
            remaining = [
                r for r in remaining if "validation_loss" not in r or r["step"] <= validated
            ]
        write_text(self.path, "".join(f"{json.dumps(r)}\n" for r in remaining))
        self.kept = (self._size(), [])

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0


def read(path: Path, *, needed: int | None = None, of_steps: bool = True) -> list[dict[str, Any]]:
    """Return the records of a `metrics.jsonl`, without an incomplete last line.

    Args:
        needed: the number of steps that must be readable; damaged lines after them are ignored.
        of_steps: whether every record must have a step; False for files of other records.

    Raises:
        BadInput: a line before the last one is damaged.
    """
    records = []
    lines = path.read_bytes().splitlines() if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError("not an object")
            if of_steps and not isinstance(record.get("step"), int):
                raise ValueError("an object without a step")
            records.append(record)
        except ValueError as error:
            enough = needed is not None and sum("loss" in r for r in records) >= needed
            if number < len(lines) and not enough:
                raise BadInput(
                    f"line {number} of {path} is damaged ({error}): remove the line",
                    code="training.damaged-metrics",
                ) from None
    return records


def expert_loads(shares: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Return the fields of a step's record about the loads of experts; {} without experts.

    Args:
        shares: for each layer with experts, the fraction of the choices of each expert.
    """
    if not shares:
        return {}
    return {
        "expert_shares": [[round(share, 4) for share in layer] for layer in shares],
        # 1 if every expert computes as many tokens as the others.
        "busiest_expert": max(len(layer) * max(layer) for layer in shares),
    }


def _events(folder: Path) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    previous_hook = threading.excepthook

    def hook(error: threading.ExceptHookArgs) -> None:
        """Ignore a full disk in TensorBoard's thread: the next `add_scalar` raises it."""
        in_writer = "tensorboard" in type(error.thread).__module__
        if not in_writer or not isinstance(error.exc_value, OSError):
            previous_hook(error)

    threading.excepthook = hook
    return SummaryWriter(str(folder))
