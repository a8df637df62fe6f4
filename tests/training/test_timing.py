"""Timed runs: they end on time on a machine that changes, and resume to the bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from wordorder.training.config import TrainConfig
from wordorder.training.schedules import learning_rate_factor, open_ended_factor
from wordorder.training.timing import Deadline

from .conftest import Clock, Killed, TinyRun, same

BUDGET = 100.0


def simulated(pace: Callable[[float], float], decay: float = 0.4) -> tuple[float, list[Any]]:
    """Return when a run of 100 s ends if a step takes `pace(seconds)`, and its decisions."""
    deadline = Deadline(BUDGET, decay, step_seconds=pace(0.0))
    window, seconds, done, ends = deadline.pace(), 0.0, 0, []
    window.add(seconds, done)
    while not ends or done < ends[-1][1]:
        if done:
            end = ends[-1][1] if ends else None
            new = deadline.new_end(done, seconds, window.seconds_per_step(), end)
            if new is not None:
                ends.append((done, new))
                if new == done:
                    break
        seconds += pace(seconds)
        done += 1
        window.add(seconds, done)
    return seconds, ends


@pytest.mark.parametrize("step", [0.02, 0.3, 4.0])
@pytest.mark.parametrize("factor", [1.0, 3.0, 1 / 3])
@pytest.mark.parametrize("when", [20.0, 50.0, 75.0, 90.0])
def test_a_timed_run_ends_on_time_where_the_machine_changes(
    step: float, factor: float, when: float
) -> None:
    seconds, _ = simulated(lambda now: step * (factor if now > when else 1.0))
    # Nothing ends within a tenth where a single step takes longer than that.
    assert abs(seconds - BUDGET) <= max(0.1 * BUDGET, 1.1 * step * max(1.0, factor))


@pytest.mark.parametrize("decay", [0.0, 0.2, 0.4, 1.0])
def test_the_decay_takes_its_share_of_the_steps(decay: float) -> None:
    _, ends = simulated(lambda now: 0.1, decay)
    (begin, steps), *later = ends
    assert (steps - begin) / steps == pytest.approx(decay, abs=0.02)
    assert not later  # a machine that does not change needs no second decision


def test_a_decay_that_is_decided_is_the_decay_that_was_planned() -> None:
    for step in range(100):
        planned = learning_rate_factor(
            step, 100, schedule="warmup-stable-decay", warmup=5, decay=0.4
        )
        decided = open_ended_factor(step, [(60, 100)], 5)
        assert decided == pytest.approx(planned)


def test_a_new_end_goes_on_from_the_rate_that_was_reached() -> None:
    factors = [open_ended_factor(step, [(60, 100), (80, 120), (90, 95)], 0) for step in range(96)]
    assert factors[60] == 1.0
    assert factors[80] == pytest.approx(0.5)
    assert factors[90] == pytest.approx(0.5 * 30 / 40)
    assert factors[95] == 0.0
    falls = [a - b for a, b in pairwise(factors[60:])]
    assert min(falls) > 0


def test_the_run_ends_with_its_time_and_records_why(tiny: Callable[..., TinyRun]) -> None:
    run = tiny("r")
    training = run.go(Clock(lambda now: 1.0 if now < 40 else 2.0), budget=60.0)
    # 40 steps in 40 s and 10 in the other 20, planned were 50 of 1 s each
    assert run.decisions()[0].keys() == {"step", "steps"}
    last = [r for r in run.records() if "loss" in r][-1]
    assert last["seconds"] == pytest.approx(60.0, abs=6.0)
    assert training.done == training.steps == run.decisions()[-1]["steps"]
    assert last["learning_rate"] < 0.2 * run.config.learning_rate


@pytest.mark.parametrize(
    "late", [4, *(pytest.param(steps, marks=pytest.mark.slow) for steps in (0, 15))]
)
def test_a_timed_run_that_is_killed_after_its_decision_ends_the_same(
    tiny: Callable[..., TinyRun], late: int
) -> None:
    pace = lambda now: 1.0  # noqa: E731
    straight, killed = tiny("straight"), tiny("killed")
    whole = straight.go(Clock(pace), budget=60.0)
    decided = straight.decisions()[0]["step"]
    assert decided % 10  # so that resuming goes back to before the decision
    with pytest.raises(Killed):
        killed.go(Clock(pace), budget=60.0, kill_before=decided + late)
    resumed = killed.go(Clock(pace), budget=60.0, resume=True)
    assert same(whole.model.state_dict(), resumed.model.state_dict())
    assert straight.decisions() == killed.decisions()
    assert straight.records() == killed.records()


@pytest.mark.parametrize("factor", [0.4, 3.0])
def test_recorded_decisions_hold_where_resuming_is_faster_or_slower(
    tiny: Callable[..., TinyRun], factor: float
) -> None:
    run, again = tiny("killed"), tiny("again")
    with pytest.raises(Killed):
        run.go(Clock(lambda now: 1.0), budget=60.0, kill_before=39)
    before = run.decisions()
    assert len(before) == 1 and before[0]["step"] > 30  # the checkpoint to resume from
    resumed = run.go(Clock(lambda now: factor), budget=60.0, resume=True)
    assert run.decisions()[:1] == before
    last = [r for r in run.records() if "loss" in r][-1]
    assert last["seconds"] == pytest.approx(60.0, abs=6.0)
    # The same decisions give the same bytes, whatever the clock says.
    (again.folder / "training").mkdir()
    lines = "".join(f"{json.dumps(record)}\n" for record in run.decisions())
    (again.folder / "training" / "decisions.jsonl").write_text(lines, encoding="utf-8")
    repeated = again.go(Clock(lambda now: 1.0), budget=60.0, repeat=True)
    assert same(resumed.model.state_dict(), repeated.model.state_dict())


def test_a_decision_that_a_kill_left_half_written_is_dropped(tiny: Callable[..., TinyRun]) -> None:
    run = tiny("r")
    with pytest.raises(Killed):
        run.go(Clock(lambda now: 1.0), budget=60.0, kill_before=39)
    path = run.folder / "training" / "decisions.jsonl"
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole + '{"step": 38, "st', encoding="utf-8")
    run.go(Clock(lambda now: 1.0), budget=60.0, resume=True)
    assert path.read_text(encoding="utf-8").startswith(whole)
    assert run.decisions()[0] == json.loads(whole)


def test_a_cosine_is_planned_and_says_that_it_may_drift() -> None:
    from wordorder.training.compute import Compute
    from wordorder.training.plan import Plan, Timing

    def said(schedule: str) -> str:
        plan = Plan(
            config=TrainConfig(time="60s", schedule=schedule),
            compute=Compute("cpu", 1),
            data={},
            parameters={"total": 1, "position": 0},
            steps=500,
            tokens_per_step=8,
            epochs=1.0,
            peak_bytes=1,
            seconds=60.0,
            timing=Timing(0.1, 58.0),
        )
        assert plan.open_ended is (schedule != "cosine")
        return plan._time()

    assert "the end shifts if the speed changes" in said("cosine")
    assert "is missed" not in said("warmup-stable-decay")
