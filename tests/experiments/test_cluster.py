"""Jobs on a cluster: submitit's stand-in on this machine, and a Slurm of four small scripts."""

from __future__ import annotations

import json
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import submitit

from wordorder.cli.main import main
from wordorder.errors import BadInput
from wordorder.experiments import calibration, cluster, submitted_job
from wordorder.experiments.cluster import TRIES, ClusterLauncher, launcher_of
from wordorder.experiments.cluster_options import ClusterOptions
from wordorder.experiments.jobs import Job, Outcome, stored
from wordorder.experiments.runner import Progress, run_jobs
from wordorder.locks import SUBMITTED, held, held_file
from wordorder.model import ModelConfig
from wordorder.training.compute import Compute
from wordorder.training.config import TrainConfig

HERE = Path(__file__).parent
STAND_IN = HERE / "stand_in"

# $FAKE/next is the number of the next job, $FAKE/state what sacct says of every job; while
# $FAKE/runs exists, a job runs at once. Each call is noted in $FAKE/calls.
SLURM = {
    "sbatch": """
        [ -e "$FAKE/full" ] && { echo "sbatch: error: Invalid account" >&2; exit 1; }
        id=$(cat "$FAKE/next"); echo $((id + 1)) > "$FAKE/next"; cp "$1" "$FAKE/script"
        if [ -e "$FAKE/runs" ]; then
            SLURM_JOB_ID=$id bash "$FAKE/script" > /dev/null 2>&1 < /dev/null &
        fi
        echo "Submitted batch job $id"
    """,
    "srun": """
        while [[ "$1" == --* ]]; do
            case "$1" in --output|--error) shift 2;; *) shift;; esac
        done
        exec "$@"
    """,
    "sacct": """
        echo "JobID|State|NodeList"
        for word in "$@"; do [[ "$word" =~ ^[0-9]+$ ]] && echo "$word|$(cat "$FAKE/state")|n1"; done
        exit 0
    """,
    "scancel": "true",
}


class Told(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def told(self, number: int, share: float, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of jobs, importable here and in submitted jobs."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
    import jobs

    return jobs


@pytest.fixture
def no_torch(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Submitted jobs import a stand-in for PyTorch: they compute nothing with it."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(STAND_IN), os.environ["PYTHONPATH"]]))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "SECONDS_BETWEEN_LOOKS", 0.02)
    monkeypatch.setattr(cluster, "SECONDS_FOR_FILES", 0.0)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a Slurm that accepts jobs, and runs them if told to."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in SLURM.items():
        lines = ["#!/bin/bash", f'echo {name} "$@" >> "$FAKE/calls"', text]
        (folder / name).write_text("\n".join(lines))
        (folder / name).chmod(0o755)
    (folder / "next").write_text(f"{os.getpid()}{time.monotonic_ns() % 10**6}")
    (folder / "state").write_text("RUNNING")
    monkeypatch.setenv("FAKE", str(folder))
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), os.environ["PATH"]]))
    watcher = type(submitit.SlurmJob.watcher)(delay_s=0)
    monkeypatch.setattr(submitit.SlurmJob, "watcher", watcher)
    return folder


def calls(slurm: Path, name: str) -> int:
    lines = (slurm / "calls").read_text().splitlines()
    return sum(line.split()[0] == name for line in lines)


def launcher(folder: Path, kind: Any = "slurm", **options: Any) -> ClusterLauncher:
    return ClusterLauncher(kind, ClusterOptions(**options), folder)


def waited_for(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def doubled(settings: Any, tell: Any) -> int:
    return 2 * settings["x"]


def job_in(folder: Path, **settings: Any) -> Job:
    return Job("two", doubled, {"x": 1, **settings}, path=folder / "two.json")


def submitted(launcher: ClusterLauncher, job: Job) -> Future[Outcome]:
    return launcher.submit(job, lambda share, line: None)


def number_of(folder: Path) -> str:
    """Return the number of the job that was submitted last."""
    (record,) = (folder / SUBMITTED).glob("*.json")
    return str(json.loads(record.read_text())["id"])


def put_result(folder: Path, outcome: Any) -> None:
    """Write what submitit leaves of the job that was submitted last."""
    path = folder / SUBMITTED / f"{number_of(folder)}_0_result.pkl"
    path.with_suffix(".new").write_bytes(pickle.dumps(outcome))
    path.with_suffix(".new").rename(path)


@pytest.mark.usefixtures("no_torch")
def test_jobs_run_here_and_a_lost_one_runs_again(jobs: Any, tmp_path: Path) -> None:
    first = Job("a", jobs.doubled, {"number": 3}, path=tmp_path / "out/a.json", threads=2)
    lost = Job("b", jobs.dying_once, {"folder": str(tmp_path)}, path=tmp_path / "out/b.json")
    show, local = Told(), launcher(tmp_path / "out", "local")
    outcomes = run_jobs([first, lost], at_once=2, show=show, launcher=local)
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert (outcomes[0].result["twice"], outcomes[0].result["threads"]) == (6, 2)
    assert outcomes[1].result == 2
    assert "lost (its process died), submitted again" in show.lines
    assert stored(first) == outcomes[0]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.json", "b.json"}


@pytest.mark.usefixtures("no_torch")
def test_a_stopped_command_lets_jobs_here_save(jobs: Any, tmp_path: Path) -> None:
    local = launcher(tmp_path / "out", "local")
    job = Job("", jobs.sleeping, {"folder": str(tmp_path), "number": 0})
    submitted(local, job)
    waited_for((tmp_path / "began-0").exists)
    local.stop()
    assert (tmp_path / "saved-0").exists()


def test_slurm_runs_a_job(slurm: Path, jobs: Any, tmp_path: Path) -> None:
    (slurm / "runs").touch()
    options = {"partition": "gpu", "time": 90, "cpus": 2, "gpus": 1, "memory": 8}
    job = Job("a", jobs.doubled, {"number": 3}, path=tmp_path / "out/a.json")
    (outcome,) = run_jobs([job], at_once=1, launcher=launcher(tmp_path / "out", **options))
    assert outcome.error is None and outcome.result["twice"] == 6
    assert stored(job) is not None
    script = (slurm / "script").read_text()
    wanted = ("partition=gpu", "time=90", "cpus-per-task=2", "gpus-per-node=1", "mem=8GB")
    assert all(f"#SBATCH --{option}\n" in script for option in (*wanted, "no-requeue"))


@pytest.mark.parametrize("state", ["NODE_FAIL", "TIMEOUT", "CANCELLED by 7"])
def test_a_lost_job_is_submitted_a_few_times(slurm: Path, tmp_path: Path, state: str) -> None:
    (slurm / "state").write_text(state)
    show = Told()
    (outcome,) = run_jobs(
        [job_in(tmp_path)], at_once=1, show=show, launcher=launcher(tmp_path / "out")
    )
    assert f"lost {TRIES} times, the last time {state}" in str(outcome.error)
    assert calls(slurm, "sbatch") == TRIES
    assert show.lines == [f"lost ({state}), submitted again"] * (TRIES - 1)


def test_a_job_without_enough_memory_is_not_submitted_again(slurm: Path, tmp_path: Path) -> None:
    (slurm / "state").write_text("OUT_OF_MEMORY")
    (outcome,) = run_jobs([job_in(tmp_path)], at_once=1, launcher=launcher(tmp_path / "out"))
    assert "memory" in str(outcome.error)
    assert calls(slurm, "sbatch") == 1


def test_a_job_that_saved_itself_is_submitted_again(slurm: Path, tmp_path: Path) -> None:
    """Slurm's warning before the time is over: the job returns None."""
    future = submitted(launcher(tmp_path), job_in(tmp_path))
    first = number_of(tmp_path)
    put_result(tmp_path, ("success", None))
    waited_for(lambda: list((tmp_path / SUBMITTED).glob("*.json")) and number_of(tmp_path) != first)
    put_result(tmp_path, ("success", Outcome(2)))
    assert future.result(30).result == 2


def test_a_job_that_cannot_begin_fails(slurm: Path, tmp_path: Path) -> None:
    future = submitted(launcher(tmp_path), job_in(tmp_path))
    put_result(tmp_path, ("error", "Traceback\nModuleNotFoundError: no torch"))
    assert "ModuleNotFoundError: no torch" in str(future.result(30).details)
    assert "its job failed" in str(future.result().error)


def test_a_stopped_command_leaves_jobs_in_the_queue_and_the_next_finds_them(
    slurm: Path, tmp_path: Path
) -> None:
    before, after = launcher(tmp_path), launcher(tmp_path)
    left = submitted(before, job_in(tmp_path))
    before.stop()
    assert not left.done() and "scancel --name wordorder-" in before.after_stopping
    future = submitted(after, job_in(tmp_path))
    put_result(tmp_path, ("success", Outcome(2)))
    assert future.result(30).result == 2
    assert (calls(slurm, "sbatch"), before.name) == (1, after.name)
    assert "scancel" not in (slurm / "calls").read_text()
    after.stop()
    assert not (tmp_path / SUBMITTED).exists()


def test_a_queued_job_with_other_settings_is_cancelled(slurm: Path, tmp_path: Path) -> None:
    before, after = launcher(tmp_path), launcher(tmp_path)
    submitted(before, job_in(tmp_path))
    before.stop()
    submitted(after, job_in(tmp_path, steps=5))
    after.stop()
    assert (calls(slurm, "sbatch"), calls(slurm, "scancel")) == (2, 1)


@pytest.mark.parametrize("state", ["FAILED", ""])
def test_a_job_that_slurm_has_forgotten_is_submitted(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(cluster, "SECONDS_IN_ACCOUNTING", 0.0)
    before, after = launcher(tmp_path), launcher(tmp_path)
    submitted(before, job_in(tmp_path))
    before.stop()
    (slurm / "state").write_text(state)
    submitted(after, job_in(tmp_path))
    after.stop()
    assert calls(slurm, "sbatch") >= 2


def test_a_refused_job_is_bad_input(slurm: Path, tmp_path: Path, capfd: Any) -> None:
    (slurm / "full").touch()
    with pytest.raises(BadInput, match="Invalid account") as caught:
        submitted(launcher(tmp_path), job_in(tmp_path))
    assert caught.value.code == "experiments.slurm-refuses"
    assert capfd.readouterr() == ("", "")


def test_one_of_two_jobs_of_a_result_waits_for_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submitted_job, "SECONDS_BETWEEN_LOCKS", 0.02)
    monkeypatch.setattr(submitted_job, "SECONDS_BETWEEN_TOLD", 0.0)
    job, outcomes = job_in(tmp_path), []
    monkeypatch.setattr(submitted_job, "function_of", lambda order: pytest.fail("done twice"))
    order = {**job.order(), "threads": 1, "folder": str(tmp_path)}
    digest = submitted_job.digest_of(order)
    assert submitted_job.digest_of(job_in(Path(os.path.relpath(tmp_path))).order()) == digest
    with held_file(tmp_path / digest):
        waiting = threading.Thread(target=lambda: outcomes.append(submitted_job._once(order)))
        waiting.start()
        told = tmp_path / f"{digest}.told"
        waited_for(lambda: "waiting" in submitted_job.read_small(told).get("line", ""))
        job.path.write_text(json.dumps({"key": job.key, "result": 2, "seconds": 1.0}))
    waiting.join(30)
    assert outcomes == [Outcome(2, seconds=1.0)]


def test_a_folder_with_submitted_jobs_alone_is_free(tmp_path: Path) -> None:
    from wordorder.experiments.compare import COMPARISON
    from wordorder.experiments.folder import goes_on

    (tmp_path / SUBMITTED).mkdir()
    with held(tmp_path):
        assert not goes_on(tmp_path, COMPARISON)


def test_on_a_cluster_each_run_is_timed_by_itself(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def timed(jobs: list[Job], *, at_once: int, launcher: Any) -> list[Outcome]:
        assert (len(jobs), at_once, launcher) == (1, 1, here)
        machine = Compute("cuda", jobs[0].threads).to_dict()
        return [Outcome({"machine": machine, "step_seconds": 1.0})]

    here = launcher(tmp_path, cpus=3)
    monkeypatch.setattr(calibration, "run_jobs", timed)
    train = TrainConfig(model=ModelConfig(width=32, layers=2, heads=2, trained_length=8))
    calibrated = calibration.calibrate(train, 6, cluster=here)
    assert (calibrated.processes, calibrated.machine.threads) == (1, 3)


def test_options_are_words() -> None:
    assert ClusterOptions.parse(["partition=gpu,gpu2 time=90", "gpus=1"]) == ClusterOptions(
        partition="gpu,gpu2", time=90, gpus=1
    )
    for word, code in (
        ("partition", "experiments.slurm-option-form"),
        ("time=", "experiments.slurm-option-form"),
        ("nodes=2", "experiments.unknown-slurm-option"),
    ):
        with pytest.raises(BadInput) as caught:
            ClusterOptions.parse([word])
        assert caught.value.code == code
    for word in ("time=2h", "time=0", "cpus=0", "gpus=-1", "account=a;b"):
        with pytest.raises(BadInput, match=word.partition("=")[0]):
            ClusterOptions.parse([word])


@pytest.mark.parametrize("command", ["compare", "tasks", "claims"])
def test_wrong_options_are_one_line(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    for words, says in (
        (["--launcher", "slurm", "--slurm-options", "time=60", "nodes=2"], "unknown name 'nodes'"),
        (["--slurm-options", "time=60"], "needs --launcher slurm"),
        (["--launcher", "slurm"], "Slurm's sbatch"),
        (["--launcher", "pbs"], "local or slurm"),
    ):
        assert main([command, *words]) == 2
        error = capsys.readouterr().err
        assert says in error and error.count("\n") == 1
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert main([command, "--launcher", "local"]) == 2
    assert "pip install 'wordorder[slurm]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_jobs_at_a_time(tmp_path: Path) -> None:
    local = launcher_of("local", (), tmp_path)
    assert local is not None and local.at_once == os.cpu_count()
    few = launcher_of("local", (), tmp_path, at_once=3)
    assert few is not None and replace(few.options, jobs=1) == ClusterOptions(jobs=1)
    assert (few.at_once, launcher_of(None, (), tmp_path)) == (3, None)
