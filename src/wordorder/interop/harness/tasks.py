"""Runs tasks of lm-evaluation-harness on a run, and returns their scores as plain values."""

from __future__ import annotations

import difflib
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import torch

from wordorder.errors import BadInput
from wordorder.text.user_text import user_path
from wordorder.training.run import Run

from . import blimp
from .environment import check_installed, offline_and_quiet

if TYPE_CHECKING:
    from lm_eval.api.model import LM

RESAMPLES = 1000  # for the standard errors that have no formula; the harness' 100,000 take minutes
SEED = 1234  # of the harness


@dataclass(frozen=True)
class HarnessScore:
    """One metric of one task, or of a group of tasks.

    Args:
        task: the name of the task or group.
        depth: how many groups it lies in.
        metric: such as acc; with the harness' filter where a task has one.
        value: of the metric.
        standard_error: None where the harness has none.
        higher_is_better: None where the task does not say.
        examples: how many were scored.
    """

    task: str
    depth: int
    metric: str
    value: float
    standard_error: float | None
    higher_is_better: bool | None
    examples: int


@dataclass(frozen=True)
class HarnessScores:
    """The scores of all requested tasks.

    Args:
        scores: groups before their members.
        max_length: most tokens that the model read at once.
        truncated: how many contexts lost their beginning, to fit.
        harness: the version of lm-evaluation-harness.
    """

    scores: tuple[HarnessScore, ...]
    max_length: int
    truncated: int
    harness: str


def score_tasks(
    run: Run,
    names: Sequence[str],
    *,
    folder: str | Path | None = None,
    limit: int | None = None,
    max_length: int = 0,
    device: str = "cpu",
    progress: Callable[[str, float], object] = lambda stage, fraction: None,
) -> HarnessScores:
    """Score tasks of lm-evaluation-harness with a run, without network.

    Args:
        names: tasks, groups or tags, by the harness' names.
        folder: task files of the harness, or the files of BLiMP; None: the harness' tasks alone.
        limit: examples of each task; None: all.
        max_length: most tokens that the model reads at once; 0: the trained length.
        progress: called with the stage and the fraction of it that is done.

    Raises:
        BadInput: the harness is not installed; a task is unknown, needs the Hugging Face Hub or
            does not fit; the model predicts masked tokens.
    """
    run.check_next_token("--tasks")
    check_installed()
    with offline_and_quiet(), tempfile.TemporaryDirectory(prefix="wordorder-") as scratch:
        from .language_model import HarnessModel

        progress("loading tasks", 0.0)
        loaded = load_tasks(names, folder, Path(scratch))
        length = max_length or run.model_config.trained_length
        model = HarnessModel(
            run.load_model(device),
            run.tokenizer,
            length,
            lambda fraction: progress("scoring", fraction),
        )
        results = evaluate_tasks(model, loaded, limit)
    return HarnessScores(scores_of(results), length, model.truncated, version("lm_eval"))


def load_tasks(names: Sequence[str], folder: str | Path | None, scratch: Path) -> dict[str, Any]:
    """Return tasks as the harness loads them.

    Args:
        names, folder: as of `score_tasks`.
        scratch: an empty folder, which must exist until the tasks have been evaluated.

    Raises:
        BadInput: as `score_tasks`.
    """
    from lm_eval.tasks import TaskManager

    include: list[str | Path] = []
    if folder is not None:
        include = _task_files(names, user_path(folder), scratch)
    tasks = TaskManager(include_path=include or None, include_defaults=False)
    if set(names) - set(tasks.all_tasks):  # reading the harness' 14,000 takes seconds
        tasks = TaskManager(include_path=include or None)
    loaded: dict[str, Any] = {"tasks": {}, "groups": {}, "group_map": {}}
    for name in dict.fromkeys(names):
        if name not in tasks.all_tasks:
            raise _unknown(name, tasks.all_tasks, folder)
        for kind, values in _loaded(tasks, name).items():
            loaded[kind] |= values
    for task in loaded["tasks"].values():
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=SEED)
    return loaded


def _task_files(names: Sequence[str], folder: Path, scratch: Path) -> list[str | Path]:
    """Return the folders in which the harness is to look for tasks, the user's last.

    Raises:
        BadInput: there is no such folder, or no task in it.
    """
    if not folder.is_dir():
        raise BadInput(
            f"--tasks-path {folder}: no such folder; give one with task files (.yaml) or with the "
            "files of BLiMP",
            code="interop.no-tasks-folder",
        )
    for name in names:
        blimp.check_complete(name, folder)
    include: list[str | Path] = []
    if blimp.files_of(folder):
        written = scratch / "tasks"
        written.mkdir()
        blimp.write_tasks(folder, written, scratch / "datasets")
        include.append(written)
    if any(folder.rglob("*.yaml")):
        include.append(folder)
    if not include:
        raise BadInput(
            f"--tasks-path {folder} holds neither task files (.yaml) nor files of BLiMP such as "
            "adjunct_island.jsonl: give the folder that does",
            code="interop.no-tasks-in-folder",
        )
    return include


def _loaded(tasks: Any, name: str) -> dict[str, Any]:
    """Return one task, group or tag as the harness loads it.

    Raises:
        BadInput: it needs the Hub, or the harness cannot load it.
    """
    try:
        loaded: dict[str, Any] = tasks.load([name])
    except ConnectionError as error:
        raise BadInput(
            f"--tasks {name}: its data are on the Hugging Face Hub, and wordorder eval uses no "
            f"network ({_one_line(error)}): download them, and give a task file with "
            "dataset_path: json in --tasks-path"
            + (" (for blimp the folder with its .jsonl files)" if name.startswith("blimp") else ""),
            code="interop.task-needs-hub",
        ) from error
    except Exception as error:  # a task may run any code
        raise BadInput(
            f"--tasks {name}: lm-evaluation-harness cannot load it ({_one_line(error)}): correct "
            "its task file",
            code="interop.task-not-loaded",
        ) from error
    return loaded


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _unknown(name: str, known: Sequence[str], folder: object) -> BadInput:
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "lm_eval ls tasks lists them"
    where = f", nor does {folder}" if folder is not None else ""
    return BadInput(
        f"--tasks: lm-evaluation-harness has no task {name!r}{where}: {hint}",
        code="interop.unknown-task",
    )


def evaluate_tasks(model: LM, loaded: dict[str, Any], limit: int | None = None) -> dict[str, Any]:
    """Return the harness' own results of loaded tasks, seeded as its command line seeds them.

    Raises:
        BadInput: a task cannot be scored with this model.
    """
    from lm_eval import utils
    from lm_eval.evaluator import evaluate

    random.seed(0)
    np.random.seed(SEED)
    torch.manual_seed(SEED)
    # Without a bar for each task of a group, and each template compiled once instead of once per
    # example, which takes two thirds of the time of BLiMP with a small model.
    templates = patch.object(utils.env, "from_string", cache(utils.env.from_string))
    bars = patch("lm_eval.api.task.tqdm", lambda items, **options: items)
    try:
        with templates, bars:
            results: dict[str, Any] = evaluate(
                model,
                task_dict=loaded,
                limit=limit,
                log_samples=False,
                bootstrap_iters=RESAMPLES,
            )
    except (BadInput, KeyboardInterrupt):
        raise
    except (ImportError, ValueError, NotImplementedError) as error:
        raise BadInput(
            f"--tasks: lm-evaluation-harness cannot score these tasks ({_one_line(error)}): leave "
            "out the one that this is about",
            code="interop.task-not-scored",
        ) from error
    return results


def scores_of(results: dict[str, Any]) -> tuple[HarnessScore, ...]:
    """Return the harness' results as scores, groups before their members."""
    members: dict[str, list[str]] = results.get("group_subtasks") or {}
    values = {**results["results"], **(results.get("groups") or {})}
    inner = {name for children in members.values() for name in children}
    scores: list[HarnessScore] = []

    def add(name: str, depth: int) -> None:
        scores.extend(_scores(name, depth, values.get(name, {}), results))
        for child in members.get(name, ()):
            add(child, depth + 1)

    for name in [*members, *values]:
        if name not in inner and name not in {score.task for score in scores}:
            add(name, 0)
    return tuple(scores)


def _scores(
    name: str, depth: int, values: dict[str, Any], results: dict[str, Any]
) -> list[HarnessScore]:
    better = results.get("higher_is_better", {}).get(name, {})
    scores = []
    for key, value in values.items():
        metric, comma, filter_name = key.partition(",")
        if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        error = values.get(f"{metric}_stderr,{filter_name}")
        scores.append(
            HarnessScore(
                name,
                depth,
                metric if filter_name == "none" else key,
                float(value),
                float(error) if isinstance(error, int | float) else None,
                better.get(metric),
                int(values.get("sample_len", 0)),
            )
        )
    return scores
