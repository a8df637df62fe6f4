"""`training/decisions.jsonl`: the decisions made during a run, written before they take effect.

The end of a timed run and the number of threads depend on the speed of the machine, so a second
run would decide differently. Each decision is therefore on the disk before the first step that it
affects: a run that is killed and resumed from an older checkpoint repeats the recorded decisions at
the same steps, and ends with the same weights.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wordorder.atomic import write_text
from wordorder.training.metrics import read

FILE = "decisions.jsonl"


class Decisions:
    """The recorded decisions of a run, in order, and how many have taken effect.

    A decision is a dictionary with `step`, the number of steps done when it takes effect, and
    `steps` (the total number of steps), `threads`, or `ranks`.

    Args:
        folder: the `training` folder of a run.
        known: the decisions of a checkpoint; used if the file has fewer.
    """

    def __init__(self, folder: Path, known: list[dict[str, Any]] | None = None) -> None:
        self.path = folder / FILE
        records = read(self.path)
        self.records = records if len(records) >= len(known or []) else list(known or [])
        self.taken = 0
        if self.records:  # removes a line that a kill left incomplete
            write_text(self.path, "".join(f"{json.dumps(r)}\n" for r in self.records))

    @property
    def ahead(self) -> bool:
        """Whether a recorded decision has not taken effect yet."""
        return self.taken < len(self.records)

    def due(self, step: int) -> Iterator[dict[str, Any]]:
        """Yield the recorded decisions that take effect at this step."""
        while self.ahead and self.records[self.taken]["step"] <= step:
            self.taken += 1
            yield self.records[self.taken - 1]

    def add(self, record: dict[str, Any]) -> None:
        """Write a new decision to the disk; it may take effect after this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(record)}\n")
            file.flush()
            os.fsync(file.fileno())
        self.records.append(record)
        self.taken += 1
