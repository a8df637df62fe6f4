"""Whether a comparison goes on in its folder, and what changed settings mean for the runs there."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from wordorder.errors import BadInput
from wordorder.experiments.comparison import RECORD, Comparison
from wordorder.experiments.wording import listed
from wordorder.model import ModelConfig
from wordorder.names import file_name
from wordorder.numerals import counted
from wordorder.training.config import TEXTS, TrainConfig

# Settings that runs do not share, or that do not change them: texts are compared by contents.
NOT_SHARED = ("position", "out", "overwrite", "sample_prompt", "tensorboard", *TEXTS)


def asked_of(train: TrainConfig, *, tune: bool) -> dict[str, Any]:
    """Return the settings that all runs share, which must not change on resuming."""
    values = {**train.to_dict(), **train.model.to_dict(), "tune": tune}
    return {name: value for name, value in values.items() if name not in NOT_SHARED}


def check_timed(folder: Path, before: Comparison) -> None:
    """Check that a record says how fast the machine is, and each embedding on it.

    Raises:
        BadInput: it does not, although every version writes that.
    """
    of_machine = {"machine", "processes", "steps", "step_seconds"}
    of_cost = {"step_seconds", "added", "parameters"}
    timed = before.settled.get("machine") and all(
        of_cost <= c.keys() for c in before.costs.values()
    )
    if not (timed and of_machine <= before.settled.keys()):
        raise BadInput(
            f"{folder / RECORD} is damaged (its times are not whole): choose another --out",
            code="experiments.damaged-times",
        )


def check_same_settings(folder: Path, before: Comparison, asked: dict[str, Any]) -> None:
    """Check that a comparison is resumed with its own settings.

    Raises:
        BadInput: it has others.
    """
    there = _complete(before.asked)
    for name, value in _complete(asked).items():
        if there[name] != value:
            raise BadInput(
                f"{folder} holds a comparison with {name} {there[name]}, not {value}: "
                "choose another --out, or replace it with --overwrite",
                code="experiments.other-comparison",
            )


def check_same_text(folder: Path, before: Comparison, facts: Mapping[str, Any]) -> None:
    """Check that a comparison is resumed with its own text, wherever that is now.

    Raises:
        BadInput: the text has other contents, or is split in another way.
    """
    if before.data.get("content_hash") != facts["content_hash"]:
        raise BadInput(
            f"the text of {facts['name']} differs from that of the comparison in {folder}: restore "
            "the old text, or choose another --out",
            code="experiments.text-has-changed",
        )
    if before.data.get("split") != facts["split"]:
        raise BadInput(
            f"the comparison in {folder} used another split of its text than this version, so its "
            "losses are of other tokens: choose another --out, or replace it with --overwrite",
            code="experiments.split-has-changed",
        )


def check_same_code(folder: Path, before: Comparison, code: Mapping[str, str]) -> None:
    """Check that no user-defined embedding has changed since its runs were trained.

    Args:
        code: digests of the embeddings' code, by spec.

    Raises:
        BadInput: one has.
    """
    for position, digest in code.items():
        runs = f"runs/{file_name(position)}-seed"
        if before.code.get(position, digest) != digest and any(folder.glob(f"{runs}*")):
            raise BadInput(
                f"the code of {position} has changed since its runs in {folder} were trained: "
                "restore the old code, choose another --out, or remove these runs to train them "
                f"again, with rm -r {shlex.quote(str(folder / runs))}*",
                code="experiments.code-has-changed",
            )


def without_changed(before: Comparison, code: Mapping[str, str]) -> Comparison:
    """Return a record without the costs and learning rates of embeddings whose code has changed."""
    changed = {position for position in code if before.code.get(position) != code[position]}

    def kept(values: Mapping[str, Any]) -> dict[str, Any]:
        return {position: value for position, value in values.items() if position not in changed}

    tuned = None if before.tuned is None else kept(before.tuned)
    return replace(before, costs=kept(before.costs), tuned=tuned)


def changes(before: Comparison | None, record: Comparison, processes: int) -> list[str]:
    """Describe the effect of changed settings on existing runs, one line each."""
    if before is None:
        return []
    old, new = before.measure, record.measure
    lines = []
    if old != new:
        settings: list[tuple[str, Any, Any]] = [("lengths", before.lengths, record.lengths)]
        settings.append(("pack", old.get("pack"), new["pack"]))
        changed = [f"{n} {_shown(b)} instead of {_shown(a)}" for n, a, b in settings if a != b]
        why = listed(changed) if changed else "this version of wordorder measures more"
        lines.append(f"{why}: existing runs are measured again, not trained again")
    if before.baseline != record.baseline:
        lines.append(
            f"differences are now relative to {record.baseline}: nothing is measured again"
        )
    if record.seeds < before.seeds:
        lines.append(f"the report covers {counted(record.seeds, 'seed')}; the other runs stay")
    if left := [p for p in before.positions if p not in record.positions]:
        lines.append(f"the report leaves out {listed(left)}; their runs stay")
    if processes not in (0, record.processes):
        lines.append(
            f"{counted(record.processes, 'run')} at once, as before: the number does not change "
            "within a comparison"
        )
    return lines


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value).lower()


def _complete(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the shared settings of a record, with the values of those that it leaves out.

    Those are settings at their defaults and settings that its version did not have.
    """
    model = ModelConfig()
    train = TrainConfig.from_dict({}, model)  # knows what trained before a setting existed
    absent = {**asdict(train), **asdict(model), "defaults": 1, "tune": False}
    values = {n: v for n, v in {**absent, **asked}.items() if n not in (*NOT_SHARED, "model")}
    return dict(json.loads(json.dumps(values)))
