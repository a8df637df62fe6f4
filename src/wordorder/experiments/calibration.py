"""Short benchmarks before a grid of runs, whose results all runs of a comparison share.

How many runs at once, and with how many threads: small models leave cores idle, so several runs
side by side often finish sooner; candidates are timed under the same load. And the time of a step
with each embedding: a few real steps in turn, so that other load on the machine affects all
equally.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from wordorder.errors import Failed
from wordorder.experiments.cluster import ClusterLauncher
from wordorder.experiments.jobs import Job, Outcome, Settings, Tell
from wordorder.experiments.runner import run_jobs
from wordorder.model import ModelConfig, make_model, shape_of
from wordorder.training.benchmark import measure
from wordorder.training.compute import Compute, compiled, pick_device, use
from wordorder.training.config import TrainConfig
from wordorder.training.initial_run import with_initial_run
from wordorder.training.plan import memory_bytes, peak_bytes
from wordorder.training.training import Training

SECONDS_TIMED = 3.0  # seconds of steps, at the same time as those of the other processes
ROUNDS = 7  # rounds of one step with each embedding


@dataclass(frozen=True)
class Calibration:
    """How the runs of a grid are computed.

    Args:
        machine: the same for every run.
        processes: runs at once.
        step_seconds: of a step with the baseline while other runs are active.
        alone_seconds: of a step with the baseline on all cores.
    """

    machine: Compute
    processes: int
    step_seconds: float
    alone_seconds: float


def calibrate(
    config: TrainConfig, runs: int, requested: int = 0, cluster: ClusterLauncher | None = None
) -> Calibration:
    """Find the fastest number of processes and threads for several runs.

    Args:
        config: of the baseline.
        runs: the number of runs.
        requested: the number of runs at once; 0: the fastest.
        cluster: where runs are computed, each by itself; None: on this machine.

    Raises:
        Failed: not even one run can be timed, or not as many at once as requested; the message
            has the reason.
    """
    best, alone = None, None
    layouts = [(1, cluster.threads)] if cluster else candidates(config, runs, requested)
    for processes, threads in layouts:
        outcomes = time_at_once(config, processes, threads, cluster)
        timed = [outcome.result for outcome in outcomes if outcome.error is None]
        if len(timed) < processes:
            if processes in (1, requested):
                raise Failed(_why(outcomes), code="experiments.baseline-cannot-be-timed")
            continue
        step = processes / sum(1 / result["step_seconds"] for result in timed)
        alone = alone or step
        chosen = processes == requested
        if best is None or chosen or step / processes < best.step_seconds / best.processes:
            best = Calibration(Compute(**timed[0]["machine"]), processes, step, alone)
    assert best is not None  # the first layout, of one process, was timed
    return best


def candidates(config: TrainConfig, runs: int, requested: int = 0) -> list[tuple[int, int]]:
    """Return (runs at once, threads of each), one run with all cores first.

    Args:
        runs: the number of runs.
        requested: the number of runs at once; 0: to be measured.
    """
    cores = config.threads or torch.get_num_threads()
    if requested:
        return [(1, cores), (requested, max(1, cores // requested))][requested == 1 :]
    device = pick_device(config.device)
    there_is = memory_bytes(device)
    fit = runs if there_is is None else int(0.8 * there_is // _peak_bytes(config))
    layouts = [(1, cores)]
    while device == "cpu" and 2 * layouts[-1][0] <= min(runs, cores, fit):
        processes = 2 * layouts[-1][0]
        layouts.append((processes, cores // processes))
    return layouts


def time_at_once(
    config: TrainConfig, processes: int, threads: int, cluster: ClusterLauncher | None = None
) -> list[Outcome]:
    """Time the same run in several processes at the same time."""
    job = Job("timing", time_baseline, as_job(config), threads=threads)
    return run_jobs([job] * processes, at_once=processes, launcher=cluster)


def costs(
    config: TrainConfig,
    positions: Sequence[str],
    machine: Compute,
    cluster: ClusterLauncher | None = None,
) -> dict[str, Any]:
    """Measure the cost of each embedding: parameters, added ones, seconds of a step.

    Raises:
        Failed: a step fails; the message has the reason.
    """
    settings = {**as_job(config), "machine": machine.to_dict(), "positions": list(positions)}
    job = Job("timing", time_positions, settings, threads=machine.threads)
    outcome = run_jobs([job], at_once=1, launcher=cluster)[0]
    if outcome.error is not None:
        raise Failed(_why([outcome]), code="experiments.embedding-cannot-be-timed")
    return outcome.result


def time_baseline(job: Settings, tell: Tell) -> dict[str, Any]:
    """Return the fastest machine settings for one process, and its seconds per step."""
    config = config_of(job)
    config, material, _ = with_initial_run(config, trust=True)
    model = make_model(config.model)
    model.initialise(config.seed)
    device = pick_device(config.device)
    model.to(device)
    tell(0.2, "measuring the machine")
    batch = material.batches(config).at(0).to(device)
    machine = measure(config, model, batch, lambda step: 0.0)
    training = _at_rest(config, machine, material)
    training.step()
    tell(0.6, "timing steps")
    start, steps = time.perf_counter(), 0
    while steps < 3 or time.perf_counter() - start < SECONDS_TIMED:
        training.step()
        steps += 1
    return {
        "machine": machine.to_dict(),
        "step_seconds": (time.perf_counter() - start) / steps,
    }


def time_positions(job: Settings, tell: Tell) -> dict[str, Any]:
    """Return the costs of all embeddings, timed in turn."""
    config, machine = config_of(job), Compute(**job["machine"])
    config, material, _ = with_initial_run(config, trust=True)
    trainings = {}
    for position in job["positions"]:
        model = replace(config.model, position=position)
        trainings[position] = _at_rest(replace(config, model=model), machine, material)
    times: dict[str, list[float]] = {position: [] for position in trainings}
    for number in range(1 + ROUNDS):
        for position, training in trainings.items():
            start = time.perf_counter()
            training.step()
            times[position].append(time.perf_counter() - start)
        tell((1 + number) / (1 + ROUNDS), "timing a step with each embedding")
    return {
        position: {
            **_parameters(training),
            "step_seconds": statistics.median(times[position][1:]),
        }
        for position, training in trainings.items()
    }


def as_job(config: TrainConfig) -> dict[str, Any]:
    """Return a configuration as JSON."""
    return {"training": config.to_dict(), "model": config.model.to_dict()}


def config_of(job: Settings) -> TrainConfig:
    """Return the configuration that `as_job` wrote."""
    return TrainConfig.from_dict(job["training"], ModelConfig.from_dict(job["model"]))


def _at_rest(config: TrainConfig, machine: Compute, material: Any) -> Training:
    """Return a training with a learning rate of 0, whose steps are timed and change nothing."""
    config = replace(config, learning_rate=0.0, matrix_learning_rate=0.0)
    model = make_model(config.model)
    model.initialise(config.seed)
    model.to(machine.device)
    use(model, machine)
    return Training(config, machine, material, model, 1000, forward=compiled(model, machine))


def _parameters(training: Training) -> dict[str, int]:
    counts = training.model.parameter_counts()
    return {"parameters": counts["total"], "added": counts["position"]}


def _peak_bytes(config: TrainConfig) -> int:
    return peak_bytes(config, shape_of(config.model))


def _why(outcomes: Sequence[Outcome]) -> str:
    return next(outcome.error for outcome in outcomes if outcome.error is not None)
