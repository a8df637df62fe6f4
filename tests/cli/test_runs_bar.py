"""The time left of several runs, where some take longer than others."""

from __future__ import annotations

from pathlib import Path

import pytest

from wordorder.cli import runs_bar
from wordorder.cli.runs_bar import RunsBar
from wordorder.experiments.jobs import Job, Outcome


@pytest.mark.parametrize(("long", "left"), [(9.0, "1 min 30 s"), (1.0, "10 s")])
def test_the_time_left_goes_by_what_runs_take(
    long: float,
    left: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = [0.0]
    monkeypatch.setattr(runs_bar.time, "perf_counter", lambda: now[0])
    bar = RunsBar()
    jobs = [Job("short", print, {}), Job("long", print, {}, seconds=long)]
    bar.plan(jobs, "2 jobs", 50.0)
    now[0] = 10.0
    bar.started(0, jobs[0])
    bar.told(0, 0.5, "half")
    bar.ended(0, Outcome())
    now[0] = 90.0
    bar.ended(1, Outcome(error="no room"))
    assert capsys.readouterr().err.splitlines() == [
        "2 jobs",
        f"1/2  short  done  {left} left",
        "2/2  long  no room",
    ]


def test_a_stop_names_the_folder_with_the_finished_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt), RunsBar().closing(tmp_path):
        raise KeyboardInterrupt
    assert f"finished runs are saved in {tmp_path}" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(KeyboardInterrupt), RunsBar().closing(tmp_path / "not there"):
        raise KeyboardInterrupt
    assert "stopped: no run was started" in capsys.readouterr().err
    with RunsBar().closing(tmp_path):
        pass
    assert not capsys.readouterr().err
