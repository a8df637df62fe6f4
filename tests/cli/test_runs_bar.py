"""The time left of several runs, where some take longer than others."""

from __future__ import annotations

import pytest

from wordorder.cli import runs_bar
from wordorder.cli.runs_bar import RunsBar
from wordorder.experiments.side_by_side import Outcome


@pytest.mark.parametrize(("weights", "left"), [((1.0, 9.0), "1 min 30 s"), ((), "10 s")])
def test_the_time_left_goes_by_what_runs_take(
    weights: tuple[float, ...],
    left: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = [0.0]
    monkeypatch.setattr(runs_bar.time, "perf_counter", lambda: now[0])
    bar = RunsBar()
    bar.begin(2, 50.0, weights)
    now[0] = 10.0
    bar.finish(0, "short", "done", Outcome({}))
    now[0] = 90.0
    bar.finish(1, "long", "done", Outcome({}))
    assert capsys.readouterr().err.splitlines() == [
        f"1/2  short  done  {left} left",
        "2/2  long  done",
    ]
