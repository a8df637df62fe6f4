"""Checkpoints are written in the background, from a copy, while training goes on."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from wordorder import stopping
from wordorder.errors import Failed
from wordorder.training import checkpoints, start
from wordorder.training.background import BackgroundWriter
from wordorder.training.training import Training

from .conftest import Clock, Killed, TinyRun

WAIT = 30.0  # seconds, after which a test fails instead of waiting


def test_one_function_at_a_time() -> None:
    writer, release, calls = BackgroundWriter(), threading.Event(), []
    writer.start(lambda: calls.append(release.wait(WAIT)))
    writer.check()  # it has not ended, and nothing is raised
    threading.Timer(0.0, release.set).start()
    writer.start(lambda: calls.append("second"))
    writer.wait()
    assert calls == [True, "second"]


def test_a_wait_that_was_interrupted_waits_again() -> None:
    writer, release, calls = BackgroundWriter(), threading.Event(), []
    writer.start(lambda: calls.append(release.wait(WAIT)))
    with stopping.handling(ctrl_c=True), pytest.raises(KeyboardInterrupt):
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        writer.wait()
    writer.check()  # it has not ended
    threading.Timer(0.2, release.set).start()
    writer.wait()
    assert calls == [True]


def test_two_interrupts_name_the_checkpoint_that_was_being_written(
    tiny: Callable[..., TinyRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, save_file, seen = tiny("run", checkpoint_every=100), checkpoints.save_file, []

    def slow(tensors: dict[str, Any], path: Path) -> None:
        if path.parent.name == "step-00000003":
            for _ in range(2):  # the second and the third Ctrl-C
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.3)
        save_file(tensors, path)

    def before_step(training: Training) -> None:
        seen[:] = [training]
        if training.done == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(checkpoints, "save_file", slow)
    with pytest.raises(KeyboardInterrupt):
        run.go(Clock(lambda _: 1.0), steps=10, before_step=before_step)
    (training,) = seen
    assert training.saved == training.done == 3
    assert checkpoints.load(run.folder / "training").step == 3
    monkeypatch.setattr(start, "is_usable", lambda folder, kind: True)
    training.saved = 0  # a kill between the checkpoint and this assignment
    message = start._stopped(training, run.folder)
    assert message.startswith("stopped and saved at step 3 of 10: resume with wordorder train")


@pytest.mark.parametrize("raising", ["wait", "check", "start"])
def test_an_error_is_raised_once_by_the_next_call(raising: str) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    writer = BackgroundWriter()
    writer.start(full)
    if raising == "check":
        writer._ended.wait(WAIT)
    with pytest.raises(OSError, match="No space left"):
        writer.start(lambda: None) if raising == "start" else getattr(writer, raising)()
    writer.wait()


def test_training_goes_on_while_a_checkpoint_is_written(
    tiny: Callable[..., TinyRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, straight = (tiny(name, checkpoint_every=4, average="ema") for name in ("run", "straight"))
    straight.go(Clock(lambda _: 1.0), steps=10)
    later, save_file, in_time = threading.Event(), checkpoints.save_file, []

    def slow(tensors: dict[str, torch.Tensor], path: Path) -> None:
        if path.parent.name == "step-00000004":
            in_time.append(later.wait(WAIT))
        save_file(tensors, path)

    def before_step(training: Training) -> None:
        if training.done == 6:
            assert training.saved == 0
            later.set()

    monkeypatch.setattr(checkpoints, "save_file", slow)
    with pytest.raises(Killed):
        run.go(Clock(lambda _: 1.0), steps=10, kill_before=7, before_step=before_step)
    assert in_time == [True]
    assert checkpoints.load(run.folder / "training").step == 4  # two steps later it was copied
    run.go(Clock(lambda _: 1.0), steps=10, resume=True)
    first, second = (load_file(r.folder / "model.safetensors") for r in (run, straight))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_error_in_the_background_ends_the_run(
    tiny: Callable[..., TinyRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, save_file = tiny("run", checkpoint_every=4), checkpoints.save_file

    def full(tensors: dict[str, Any], path: Path) -> None:
        if path.parent.name == "step-00000008":
            raise OSError(28, "No space left on device")
        save_file(tensors, path)

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(Failed, match="No space left") as caught:
        run.go(Clock(lambda _: 1.0), steps=20)
    assert caught.value.code == "training.cannot-write"
    assert checkpoints.load(run.folder / "training").step == 4


def test_a_run_that_fails_completes_its_checkpoint(
    tiny: Callable[..., TinyRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, failed, save_file = (
        tiny("run", checkpoint_every=4),
        threading.Event(),
        checkpoints.save_file,
    )

    def slow(tensors: dict[str, Any], path: Path) -> None:
        assert path.parent.name != "step-00000004" or failed.wait(WAIT)
        save_file(tensors, path)

    def before_step(training: Training) -> None:
        if training.done == 5:
            failed.set()
            raise Failed("the loss is nan", code="training.not-finite")

    monkeypatch.setattr(checkpoints, "save_file", slow)
    with pytest.raises(Failed, match="loss is nan"):
        run.go(Clock(lambda _: 1.0), steps=20, before_step=before_step)
    assert checkpoints.load(run.folder / "training").step == 4
