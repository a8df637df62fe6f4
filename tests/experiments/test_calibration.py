"""How many runs at once: which ways are tried, and which is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from wordorder.experiments import calibration
from wordorder.experiments.jobs import Job, Outcome
from wordorder.model import ModelConfig
from wordorder.training.compute import Compute
from wordorder.training.config import TrainConfig

TRAIN = TrainConfig(model=ModelConfig(width=32, layers=2, heads=2, trained_length=8), batch_size=4)


def test_candidates_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "memory_bytes", lambda device: 1 << 40)
    eight = replace(TRAIN, threads=8)
    assert calibration.candidates(eight, 18) == [(1, 8), (2, 4), (4, 2), (8, 1)]
    assert calibration.candidates(eight, 3) == [(1, 8), (2, 4)]
    monkeypatch.setattr(calibration, "memory_bytes", lambda device: 1 << 29)
    assert calibration.candidates(eight, 18)[-1] == (1, 8)


def test_the_faster_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "memory_bytes", lambda device: 1 << 40)

    def took(at_the_same_time: float) -> Callable[..., list[Outcome]]:
        def run_jobs(jobs: list[Job], *, at_once: int, launcher: None) -> list[Outcome]:
            step = 1.0 if at_once == 1 else at_the_same_time
            machine = Compute("cpu", jobs[0].threads).to_dict()
            return [Outcome({"machine": machine, "step_seconds": step}) for job in jobs]

        return run_jobs

    for step, processes in ((1.5, 2), (2.5, 1)):
        monkeypatch.setattr(calibration, "run_jobs", took(step))
        forced = calibration.calibrate(replace(TRAIN, threads=2), 6, 3 - processes)
        assert forced.processes == 3 - processes
        found = calibration.calibrate(replace(TRAIN, threads=2), 6)
        assert (found.processes, found.alone_seconds) == (processes, 1.0)
        assert found.machine.threads == 2 // processes
