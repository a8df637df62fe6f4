"""What a run will take on this machine, from a step that is measured once for each size."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import NamedTuple

from pydantic import BaseModel

from wordorder.studio.orders import TrainOrder
from wordorder.training.plan import (
    FEWEST_STEPS,
    peak_bytes,
    readable_bytes,
    readable_seconds,
)
from wordorder.training.size import WORTHWHILE_PASSES

PYTHON_DOCS_BYTES = 1_560_000  # of Python 3.11; others differ by some per cent
BYTES_PER_TOKEN = 3.7  # of English, in a BPE of 4,096 tokens
MOST_SECONDS = 90.0  # for a measurement
# A run of a few minutes saves about this many checkpoints to show, if saving takes little time.
SHOWN, SHOWN_SECONDS, SMALL_PARAMETERS = 12, 600.0, 4_000_000


class StepTime(NamedTuple):
    """Seconds of a training step, and how it was computed."""

    seconds: float
    how: str


class RunEstimate(BaseModel):
    """What a run takes; what depends on an unmeasured step is null.

    Args:
        parameters, position_parameters: of the model, and those of the embedding.
        memory: in words.
        passes: how often the text is read.
        measured: how the step was timed; empty if it was not.
        warnings: a line each.
        checkpoint_every: steps between checkpoints, so that the page can show the model as it
            learns; 0: as the command chooses.
    """

    parameters: int
    position_parameters: int
    memory: str
    vocabulary: int
    context: int
    tokens_per_step: int
    command: str = ""
    tokens_per_second: float | None = None
    steps: int | None = None
    seconds: float | None = None
    time: str = ""
    passes: float | None = None
    measured: str = ""
    warnings: list[str] = []
    checkpoint_every: int = 0


class Speeds:
    """The measured steps, by size and embedding."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str], StepTime] = {}
        self._measuring = threading.Lock()
        self._newest: tuple[str, str, str] | None = None

    def known(self, order: TrainOrder) -> StepTime | None:
        """Return the measured step of these sizes; None if it was not measured."""
        return self._known.get(_key(order))

    def measure(self, order: TrainOrder) -> StepTime | None:
        """Measure a step of these sizes, unless it is known.

        Returns None if it cannot be measured, or a newer request has other sizes.
        """
        self._newest = key = _key(order)
        with self._measuring:
            is_wanted = key not in self._known and self._newest == key
            if is_wanted and (step := _in_process(*key)) is not None:  # otherwise tried again
                self._known[key] = step
        return self._known.get(key)


def estimate(order: TrainOrder, text_bytes: int | None, step: StepTime | None) -> RunEstimate:
    """Return what a run takes.

    Args:
        text_bytes: of the text; None: the documentation of Python.
        step: the measured step; None: not known yet.
    """
    model = order.check()
    config = order.config(order.position)
    counts, each = model.parameter_counts(), config.tokens_per_step
    answer = RunEstimate(
        parameters=counts["total"],
        position_parameters=counts["position"],
        memory=readable_bytes(peak_bytes(config, model)),
        vocabulary=config.model.vocabulary_size,
        context=config.model.trained_length,
        tokens_per_step=each,
    )
    if step is None and order.steps is None:
        return answer
    steps = order.steps or max(1, round(60 * order.minutes / (step.seconds if step else 1.0)))
    tokens_of_text = (text_bytes or PYTHON_DOCS_BYTES) / BYTES_PER_TOKEN
    answer.steps, answer.passes = steps, steps * each / tokens_of_text
    if step is not None:
        answer.tokens_per_second = each / step.seconds
        answer.seconds = steps * step.seconds if order.steps else 60 * order.minutes
        answer.time, answer.measured = readable_seconds(answer.seconds), step.how
        if answer.seconds < SHOWN_SECONDS and counts["total"] < SMALL_PARAMETERS:
            answer.checkpoint_every = _rounded(steps // SHOWN)
    answer.warnings = list(_warnings(answer))
    return answer


def _warnings(answer: RunEstimate) -> list[str]:
    lines = []
    if answer.steps is not None and answer.steps < FEWEST_STEPS:
        lines.append(
            f"{answer.steps} steps are too few to learn more than which words are frequent: give "
            "it more time, or choose a smaller preset."
        )
    if answer.passes is not None and answer.passes > WORTHWHILE_PASSES:
        lines.append(
            f"The text will be read {answer.passes:.0f} times; beyond about "
            f"{WORTHWHILE_PASSES:.0f} a model memorises it: use more text, less time, or a smaller "
            "preset."
        )
    return lines


def _rounded(number: int) -> int:
    """Return a number that is easy to read: with one digit that is not 0."""
    size = 10 ** (len(str(number)) - 1)
    return max(1, number // size * size)


def _key(order: TrainOrder) -> tuple[str, str, str]:
    return order.preset, json.dumps(order.typed(), sort_keys=True), order.position


def _in_process(*arguments: str) -> StepTime | None:
    words = [sys.executable, "-m", "wordorder.studio.step_time", *arguments]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=MOST_SECONDS, check=True
        )
        answer = json.loads(done.stdout)
        return StepTime(answer["step_seconds"], answer["how"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return None
