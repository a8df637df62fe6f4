"""The record of a comparison in `comparison.json`: what was compared, and how."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from wordorder.errors import BadInput
from wordorder.experiments.folder import write_record
from wordorder.model import ModelConfig
from wordorder.training.config import TrainConfig

RECORD = "comparison.json"
FIGURES = ("losses", "curves", "lengths", "whole-windows", "length-changes", "order")


# What every version writes, and every reader of a record needs.
NEEDED = {
    "positions": (),
    "model": ("layers", "width"),
    "data": ("name",),
    "machine": ("device",),
}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The settings of a comparison. Fields that older records lack have defaults.

    Args:
        wordorder: the version.
        command: the command line; None: from Python.
        positions, baseline, seeds: the runs, and the reference of differences.
        lengths: context lengths, relative to the trained length.
        steps, tokens, passes: of each run; passes over the training text.
        model, training: shared by all runs, in the format of `ModelConfig` and `TrainConfig`.
        machine, processes: how runs are computed, and how many at once.
        data: metadata of the text.
        notes: context lengths that the text cannot measure, and what intervals do not cover.
        measure: the measurements of each run, see `paired_run.measures_of`.
        settled: the benchmark of the machine, and the resulting number of steps.
        asked: settings that must not change when a comparison is resumed.
        costs: of each embedding: `parameters`, `added`, `step_seconds`.
        tuned, tuning: the factor of the learning rates of each embedding, and its selection.
        looks: the numbers of seeds with which results were available, in the order of the looks.
        code: digests of the code of user-defined embeddings that have runs.
        held_equal, not_equal, leaks: sentences for the report.
    """

    wordorder: str
    command: str | None
    positions: list[str]
    baseline: str
    seeds: int
    lengths: list[int]
    steps: int
    tokens: int
    passes: float | None = None
    trained_length: int
    model: dict[str, Any]
    training: dict[str, Any]
    machine: dict[str, Any]
    processes: int
    data: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    measure: dict[str, Any] = field(default_factory=dict)
    settled: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)
    costs: dict[str, dict[str, Any]] = field(default_factory=dict)
    tuned: dict[str, float] | None = None
    tuning: dict[str, Any] | None = None
    looks: list[int] = field(default_factory=list)
    code: dict[str, str] = field(default_factory=dict)
    held_equal: list[str] = field(default_factory=list)
    not_equal: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)

    @property
    def config(self) -> TrainConfig:
        """The training that all runs share."""
        return TrainConfig.from_dict(self.training, ModelConfig.from_dict(self.model))

    @property
    def looks_so_far(self) -> list[int]:
        """The numbers of seeds with which results were looked at up to this look, the last."""
        seen = [*self.looks, self.seeds]
        return seen[: seen.index(self.seeds) + 1]

    def looked_at(self) -> Comparison:
        """Return the record after results with this number of seeds were available.

        To add seeds until a difference is significant inflates false positives, as does to leave
        some out again; the report corrects it.
        """
        if self.seeds < 2 or self.seeds in self.looks:
            return self
        return replace(self, looks=[*self.looks, self.seeds])

    def to_json(self) -> str:
        """Return the text of `comparison.json`."""
        return json.dumps({f.name: getattr(self, f.name) for f in fields(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Comparison:
        """Return the record that a `comparison.json` holds, of this version or an older one.

        Raises:
            TypeError: a value is missing that every version writes, or is of another type.
        """
        hints = get_type_hints(cls)
        known = {name: value for name, value in values.items() if name in hints}
        for name, parts in NEEDED.items():
            if not (value := known.get(name)) or any(part not in value for part in parts):
                raise TypeError(f"{name} is not whole")
        if wrong := [name for name, value in known.items() if not _fits(value, hints[name])]:
            raise TypeError(f"{wrong[0]} is of another type")
        return cls(**known)

    @classmethod
    def read(cls, folder: Path) -> Comparison:
        """Return the record of a comparison's folder.

        Raises:
            BadInput: no comparison is there, or its record is damaged.
        """
        path = folder / RECORD
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise BadInput(
                f"{folder} has no {RECORD}: give a folder created by wordorder compare",
                code="experiments.not-a-comparison",
            ) from None
        except (ValueError, TypeError, AttributeError) as error:
            raise BadInput(
                f"{path} is damaged ({error}): choose another --out",
                code="experiments.damaged-comparison",
            ) from None

    def write(self, folder: Path) -> None:
        """Write the record into a comparison's folder.

        Raises:
            BadInput: it cannot be written.
            Failed: there is no room.
        """
        write_record(folder / RECORD, self.to_json())


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a value of JSON is of the type of an annotation."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind is UnionType:
        return any(_fits(value, each) for each in inner)
    if kind is list:
        return isinstance(value, list) and all(_fits(each, inner[0]) for each in value)
    if kind is dict:
        return isinstance(value, dict) and all(_fits(each, inner[1]) for each in value.values())
    return hint is Any or isinstance(value, (int, float) if hint is float else hint)
