"""Jobs side by side: order, threads, failures of one alone, Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from wordorder.experiments.side_by_side import Outcome, Progress, run_jobs


class Recorded(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def started(self, number: int, job: Any) -> None:
        self.lines.append(f"started {number}")

    def told(self, number: int, share: float, line: str) -> None:
        self.lines.append(f"told {number} {share} {line}")

    def ended(self, number: int, outcome: Outcome) -> None:
        self.lines.append(f"ended {number}")


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of jobs, importable here and in the processes (the current folder counts)."""
    monkeypatch.chdir(Path(__file__).parent)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import jobs

    return jobs


def test_results_come_in_the_order_of_the_jobs(jobs: Any) -> None:
    show = Recorded()
    outcomes = run_jobs(
        jobs.doubled, [{"number": n} for n in (3, 1, 2)], processes=2, threads=1, show=show
    )
    assert [outcome.result["twice"] for outcome in outcomes] == [6, 2, 4]
    assert {outcome.result["threads"] for outcome in outcomes} == {1}
    assert len({outcome.result["process"] for outcome in outcomes} | {os.getpid()}) == 4
    assert show.lines.index("told 1 0.5 working on 1") < show.lines.index("ended 1")
    assert "nor is this" in outcomes[0].details


def test_a_failed_job_does_not_stop_the_rest(jobs: Any) -> None:
    ways = ("bad input", "bug", "death", "none")
    outcomes = run_jobs(jobs.refusing, [{"how": way} for way in ways], processes=2, threads=1)
    errors = [outcome.error for outcome in outcomes]
    assert errors == ["no such thing", "KeyError: 'missing'", "its process died of signal 9", None]
    assert "Traceback" in outcomes[1].details
    assert "Traceback" not in outcomes[0].details
    assert outcomes[3].result == 1


def test_jobs_run_at_the_same_time(jobs: Any, tmp_path: Path) -> None:
    pair = [{"folder": str(tmp_path), "name": a, "other": b} for a, b in ("ab", "ba")]
    assert [o.result for o in run_jobs(jobs.meeting, pair, processes=2, threads=1)] == [True, True]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_when_the_command_is_stopped_every_job_saves(tmp_path: Path, how: signal.Signals) -> None:
    code = (
        "import jobs; from wordorder.experiments.side_by_side import run_jobs; "
        f"run_jobs(jobs.sleeping, [dict(folder={str(tmp_path)!r}, number=n) for n in (0, 1, 2)], "
        "processes=2, threads=1)"
    )
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, cwd=Path(__file__).parent, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not all((tmp_path / f"began-{n}").exists() for n in (0, 1)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(how)
    assert process.wait(30) != 0
    while how is signal.SIGKILL and len(list(tmp_path.iterdir())) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["began-0", "began-1", "saved-0", "saved-1"]


def test_nothing_is_left_behind(jobs: Any) -> None:
    before = threading.active_count()
    run_jobs(jobs.doubled, [{"number": 1}], processes=1, threads=1)
    assert threading.active_count() <= before + 1  # a listener that is about to end
