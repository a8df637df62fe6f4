"""`metrics.jsonl`: one JSON object a line for every step, validation and sample of a run.

It is a file of truth: the plot, the samples and the model card are made again from it.
Lines are held back for a few steps and are on the disk before any checkpoint that
counts them; resuming drops what came after the checkpoint, and so repeats nothing.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

from wordorder.atomic import write_text
from wordorder.errors import BadInput

HELD_BACK = 10  # lines
# What depends on how fast the machine was, and so differs between two equal runs.
TIMING_FIELDS = ("seconds", "tokens_per_second")


class Metrics:
    """The growing record of a run, and its TensorBoard events where they are asked for.

    Raises:
        BadInput: where TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, *, tensorboard: bool = False) -> None:
        self.path = folder / "metrics.jsonl"
        # How many bytes of the file are whole lines, and the lines that come after them.
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
        """Put what is held back on the disk, once: what an earlier try left of it is cut off.

        Raises:
            OSError: it cannot be written.
        """
        size, waiting = self.kept
        if waiting:
            text = "".join(f"{line}\n" for line in waiting).encode()
            with self.path.open("ab") as file:
                file.truncate(size)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            self.kept = (size + len(text), [])  # at once, whatever interrupts
        if self.events is not None:
            self.events.flush()

    def cut(self, step: int, validated: int | None = None) -> None:
        """Drop what came after a checkpoint, and a line that a kill left half written.

        Args:
            step: how many steps were done then.
            validated: the step of the last validation before it; None: `step` or earlier.
        """
        records = read(self.path, needed=step)
        kept = [r for r in records if r["step"] <= step and "final" not in r]
        # A decision at this step is repeated, and written again.
        kept = [r for r in kept if "decision" not in r or r["step"] < step]
        if validated is not None:
            kept = [r for r in kept if "validation_loss" not in r or r["step"] <= validated]
        write_text(self.path, "".join(f"{json.dumps(r)}\n" for r in kept))
        self.kept = (self._size(), [])

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0


def read(path: Path, *, needed: int | None = None, of_steps: bool = True) -> list[dict[str, Any]]:
    """Return the records of a `metrics.jsonl`; a last line that is half written is left out.

    Args:
        of_steps: every record names a step, as here; False for a file of other records.
        needed: so many steps are looked for, and damage after them is left out too.

    Raises:
        BadInput: a damaged line (which) with others after it.
    """
    records = []
    lines = path.read_bytes().splitlines() if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError("not an object")
            if of_steps and not isinstance(record.get("step"), int):
                raise ValueError("no object with a step")
            records.append(record)
        except ValueError as error:
            enough = needed is not None and sum("loss" in r for r in records) >= needed
            if number < len(lines) and not enough:
                raise BadInput(
                    f"{path} is damaged in line {number}: {error}: remove the line"
                ) from None
    return records


def _events(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise BadInput(
            "--tensorboard needs an extra: pip install 'wordorder[tensorboard]'"
        ) from None
    otherwise = threading.excepthook

    def tell(error: threading.ExceptHookArgs) -> None:
        """Say nothing of a full disk in the writer's thread: the next `add_scalar` raises it."""
        ours = "tensorboard" in type(error.thread).__module__
        if not ours or not isinstance(error.exc_value, OSError):
            otherwise(error)

    threading.excepthook = tell
    return SummaryWriter(str(folder))
