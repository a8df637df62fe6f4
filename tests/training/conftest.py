"""A tiny run that tests drive by a clock of their own, kill, and resume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from wordorder.model import ModelConfig, make_model
from wordorder.training import checkpoints, loop
from wordorder.training.compute import Compute
from wordorder.training.config import TrainConfig, with_vocabulary
from wordorder.training.display import Display
from wordorder.training.metrics import Metrics
from wordorder.training.run_controller import RunController
from wordorder.training.timing import Deadline
from wordorder.training.training import Training
from wordorder.training.training_data import read_training_data


class Killed(Exception):
    """Stands for kill -9: nothing is saved, and the loop has no say."""


class Clock:
    """A clock that moves only when a step is taken.

    Args:
        pace: from the seconds passed to those that the next step takes.
    """

    def __init__(self, pace: Callable[[float], float]) -> None:
        self.pace, self.seconds = pace, 0.0

    def __call__(self) -> float:
        return self.seconds

    def tick(self) -> None:
        self.seconds += self.pace(self.seconds)


class TinyRun:
    """One run in a folder, which can be started, killed at a step, and resumed."""

    def __init__(self, folder: Path, config: TrainConfig) -> None:
        self.folder, self.config = folder, config
        self.training_data = read_training_data(config)
        folder.mkdir(exist_ok=True)

    def go(
        self,
        clock: Clock,
        *,
        budget: float | None = None,
        steps: int = 50,
        kill_before: int | None = None,
        resume: bool = False,
        threads: tuple[int, ...] = (),
        repeat: bool = False,
        before_step: Callable[[Training], object] = lambda training: None,
    ) -> Training:
        """Run to the end, or until a kill before the step with this index.

        Args:
            budget: seconds, for an open end; None: exactly `steps`.
            repeat: take recorded decisions alone.
        """
        config = with_vocabulary(self.config, self.training_data.tokenizer.vocabulary_size)
        model = make_model(config.model)
        model.initialise(config.seed)
        compute = Compute("cpu", 1)
        training = Training(config, compute, self.training_data, model, steps, budget is not None)
        take = training.step

        def step() -> dict[str, Any]:
            if training.done == kill_before:
                raise Killed
            before_step(training)
            record = take()
            clock.tick()
            return record

        training.step = step  # type: ignore[method-assign]
        known, before = None, 0.0
        if resume:
            checkpoint = checkpoints.load(self.folder / "training")
            training.load(checkpoint)
            metrics = Metrics(self.folder)
            metrics.cut(training.done)
            known = checkpoint.extra["decisions"]
            before = max((r.get("seconds", 0.0) for r in self.records()), default=0.0)
        deadline = None if budget is None or repeat else Deadline(budget, config.decay, 1.0)
        controller = RunController(
            self.folder, deadline=deadline, thread_numbers=threads, known=known, now=clock
        )
        loop.run(training, self.folder, Display(), controller, before)
        return training

    def records(self) -> list[dict[str, Any]]:
        from wordorder.training.metrics import read

        return read(self.folder / "metrics.jsonl")

    def decisions(self) -> list[dict[str, Any]]:
        from wordorder.training.metrics import read

        return read(self.folder / "training" / "decisions.jsonl")


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TinyRun]:
    """Return a function that makes a run of a folder's name and options of a training."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "text.txt"
    who = ("the cat", "a dog", "my aunt", "no king", "one bird", "their boat")
    does = ("sees", "likes", "finds", "carries", "forgets")
    path.write_text(
        "\n".join(f"{a} {v} {b} {n}." for n, a in enumerate(who) for v in does for b in who),
        encoding="utf-8",
    )
    model = ModelConfig(width=16, layers=1, heads=2, trained_length=16, dropout=0.1)
    config = TrainConfig(
        model=model,
        data=(str(path),),
        tokenizer="bytes",
        batch_size=2,
        dtype="float32",
        kernel="plain",
        checkpoint_every=10,
        evaluate_every=10,
    )

    def make(name: str, **options: Any) -> TinyRun:
        return TinyRun(tmp_path / name, replace(config, **options))

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield make
    torch.set_num_threads(before)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Return whether two models hold the same bits."""
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)
