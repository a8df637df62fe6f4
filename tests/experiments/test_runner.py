"""Jobs at once: order, threads, memory, failures of one alone, Ctrl-C, kills, and results."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wordorder.experiments.jobs import Job, Outcome, read_stored, remove_unsound, stored, stored_for
from wordorder.experiments.runner import Progress, run_jobs

HERE = Path(__file__).parent
STAND_IN = HERE / "stand_in"


class Recorded(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def started(self, number: int, job: Job) -> None:
        self.lines.append(f"started {number}")

    def told(self, number: int, share: float, line: str) -> None:
        self.lines.append(f"told {number} {share} {line}")

    def ended(self, number: int, outcome: Outcome) -> None:
        self.lines.append(f"ended {number}")


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of jobs, importable here and in the processes."""
    monkeypatch.syspath_prepend(str(HERE))
    import jobs

    return jobs


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes import a stand-in for PyTorch: what is tested here is how they start and end."""
    monkeypatch.syspath_prepend(str(STAND_IN))
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(STAND_IN), os.environ.get("PYTHONPATH", "")])
    )


def of(function: Any, *settings: dict[str, Any], **more: Any) -> list[Job]:
    return [Job(f"job {n}", function, each, **more) for n, each in enumerate(settings)]


def waited_for(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 300
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.usefixtures("no_torch")
def test_results_come_in_the_order_of_the_jobs(jobs: Any) -> None:
    show = Recorded()
    doubled = of(jobs.doubled, *({"number": n} for n in (3, 1, 2)))
    outcomes = run_jobs(doubled, at_once=2, show=show)
    assert [outcome.result["twice"] for outcome in outcomes] == [6, 2, 4]
    assert len({outcome.result["process"] for outcome in outcomes} | {os.getpid()}) == 4
    assert show.lines.index("told 1 0.5 working on 1") < show.lines.index("ended 1")
    assert "nor is this" in outcomes[0].details


def test_threads_are_set_before_torch_is_imported(jobs: Any) -> None:
    (outcome,) = run_jobs(of(jobs.doubled, {"number": 1}, threads=3), at_once=1)
    assert outcome.result["threads"] == 3
    assert outcome.result["threads_at_import"] == "3"


@pytest.mark.slow
def test_the_peak_of_memory_is_the_jobs_own(jobs: Any) -> None:
    held = bytearray(512 << 20)
    held[:: 1 << 12] = b"x" * len(held[:: 1 << 12])
    (outcome,) = run_jobs(of(jobs.peak, {}), at_once=1)
    assert 1 << 20 < outcome.result < len(held)


@pytest.mark.usefixtures("no_torch")
def test_a_failed_job_does_not_stop_the_rest(jobs: Any) -> None:
    ways = ("bad input", "bug", "exit", "death", "none")
    outcomes = run_jobs(of(jobs.refusing, *({"how": way} for way in ways)), at_once=2)
    errors = [outcome.error for outcome in outcomes]
    assert errors == [
        *("no such thing", "KeyError: 'missing'", "SystemExit: needs CUDA"),
        *("its process died of signal 9", None),
    ]
    assert "Traceback" in outcomes[1].details
    assert "Traceback" not in outcomes[0].details
    assert outcomes[4].result == 1


@pytest.mark.usefixtures("no_torch")
def test_a_killed_process_takes_no_other_along(jobs: Any, tmp_path: Path) -> None:
    """The other job has begun when the first is killed, and ends in the process it began in."""
    killed, other = of(jobs.killed_by_the_other, *({"folder": str(tmp_path), "n": n} for n in "01"))
    first, second = run_jobs([killed, other], at_once=2)
    assert first.error == "its process died of signal 9"
    assert second.result == int((tmp_path / "1").read_text())


@pytest.mark.usefixtures("no_torch")
def test_jobs_run_at_the_same_time(jobs: Any, tmp_path: Path) -> None:
    pair = [{"folder": str(tmp_path), "name": a, "other": b} for a, b in ("ab", "ba")]
    assert [o.result for o in run_jobs(of(jobs.meeting, *pair), at_once=2)] == [True, True]


def test_a_job_that_measures_time_runs_alone(jobs: Any, here: Any) -> None:
    show = Recorded()
    first, second, third = of(jobs.refusing, *[{"how": "none"}] * 3)
    run_jobs([first, replace(second, alone=True), third], at_once=3, show=show, launcher=here)
    assert show.lines == [f"{what} {n}" for n in (0, 1, 2) for what in ("started", "ended")]


START = (
    "import sys; sys.path.insert(0, {here!r}); import jobs\n"
    "from wordorder.experiments.jobs import Job\n"
    "from wordorder.experiments.runner import run_jobs\n"
    "run_jobs([Job('', jobs.sleeping, dict(folder={folder!r}, number=n)) for n in (0, 1, 2)], "
    "at_once=2)\n"
)


# The terminal interrupts all of its processes; a kill reaches the command alone.
@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize(("whom", "how"), [(os.killpg, signal.SIGINT), (os.kill, signal.SIGKILL)])
def test_when_the_command_is_stopped_every_job_saves(
    tmp_path: Path, whom: Callable[[int, int], None], how: signal.Signals
) -> None:
    """Once: a job that is interrupted twice does not save."""
    command = [sys.executable, "-c", START.format(here=str(HERE), folder=str(tmp_path))]
    nowhere = subprocess.DEVNULL
    files = tmp_path.with_suffix(".temporary")
    files.mkdir()
    environment = {**os.environ, "TMPDIR": str(files)}
    process = subprocess.Popen(command, stderr=nowhere, start_new_session=True, env=environment)
    waited_for(lambda: all((tmp_path / f"began-{n}").exists() for n in (0, 1)))
    workers = [int((tmp_path / f"began-{n}").read_text()) for n in (0, 1)]
    whom(process.pid, how)
    assert process.wait(300) != 0
    waited_for(lambda: len(list(tmp_path.iterdir())) == 4)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["began-0", "began-1", "saved-0", "saved-1"]
    waited_for(lambda: not any(map(is_running, workers)))
    assert not list(files.glob("wordorder*"))


@pytest.mark.usefixtures("no_torch")
def test_a_second_interrupt_does_not_wait(tmp_path: Path) -> None:
    code = START.format(here=str(HERE), folder=str(tmp_path)).replace("sleeping", "stubborn")
    code = code.replace("(0, 1, 2)", "(0,)")
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    waited_for((tmp_path / "began").exists)
    worker = int((tmp_path / "began").read_text())
    process.send_signal(signal.SIGINT)
    waited_for((tmp_path / "interrupted").exists)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(300) != 0
    assert not is_running(worker)


def is_running(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize("way", ["file", "stdin"])
def test_a_script_needs_no_guard_and_is_not_run_again(tmp_path: Path, way: str) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(HERE)!r}); import jobs\n"
        "from pathlib import Path\n"
        "from wordorder.experiments.jobs import Job\n"
        "from wordorder.experiments.runner import run_jobs\n"
        "Path('times').open('a').write('once ')\n"
        "found = run_jobs([Job('', jobs.doubled, dict(number=2))], at_once=1)\n"
        "print(found[0].result['twice'], found[0].error)\n"
    )
    (tmp_path / "script.py").write_text(code)
    arguments = {"file": ["script.py"], "stdin": ["-"]}[way]
    done = subprocess.run(
        [sys.executable, *arguments],
        input=code if way == "stdin" else "",
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "4 None\n", "")
    assert (tmp_path / "times").read_text() == "once "


@pytest.mark.usefixtures("no_torch")
def test_nothing_is_left_behind(jobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = threading.active_count()
    run_jobs(of(jobs.doubled, {"number": 1}), at_once=1)
    assert threading.active_count() == before
    assert not list(tmp_path.glob("wordorder*"))


def test_a_stored_result_is_of_one_function_and_its_settings(here: Any, tmp_path: Path) -> None:
    def twice(settings: Any, tell: Any) -> Any:
        return {"twice": (2 * settings["x"],)}

    def other(settings: Any, tell: Any) -> None:
        return None

    job = Job("two", twice, {"x": 2, "text": "f00"}, {"folder": "a"}, tmp_path / "deep/two.json")
    assert stored(job) is None
    (outcome,) = run_jobs([job], at_once=1, launcher=here)
    assert stored(job) == replace(outcome, details="")
    assert outcome.result == {"twice": [4]}
    assert stored(replace(job, how={"folder": "b"}, name="deux", threads=2)) is not None
    assert stored(replace(job, settings={"x": 2, "text": "f01"})) is None
    assert stored(replace(job, function=other)) is None
    record = read_stored(job)
    assert record is not None and record["job"] == job.settings and record["key"] == job.key
    assert stored(replace(job, settings=dict(reversed(job.settings.items())))) is not None


def test_results_of_earlier_versions_are_read_and_damaged_ones_are_not(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    job = Job("", print, {"x": 1}, path=path, older=lambda record: record["found"])
    for text, result in (
        (json.dumps({"found": 5}), 5),
        (json.dumps({"key": "of another", "found": 5}), None),
        (json.dumps({"other": 5}), None),
        ('{"found": 5', None),
        ("[5]", None),
    ):
        path.write_text(text)
        outcome = stored(job)
        assert (outcome and outcome.result) == result


def test_a_result_that_cannot_be_written_fails_in_a_line(here: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    job = Job("", dict, {}, path=tmp_path / "file/r.json")
    job = replace(job, function=lambda settings, tell: 1)
    (outcome,) = run_jobs([job], at_once=1, launcher=here)
    assert "cannot write" in str(outcome.error)


@pytest.mark.usefixtures("no_torch")
def test_a_damaged_result_is_removed_before_a_cluster_would_find_it(
    jobs: Any, tmp_path: Path
) -> None:
    (job,) = of(jobs.doubled, {"number": 1})
    job = replace(job, path=tmp_path / "result.json", sound=lambda result: "doubled" in result)
    record = {"key": job.key, "job": job.settings, "seconds": 1.0, "result": {}}
    job.path.write_text(json.dumps(record))
    remove_unsound(job)
    assert stored_for(job.order()) is None
    job.path.write_text(json.dumps({**record, "result": {"doubled": 2}}))
    remove_unsound(job)
    assert stored_for(job.order()) is not None
