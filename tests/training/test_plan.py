"""What the plan of a run says before its first step."""

from __future__ import annotations

from typing import Any

import pytest

from wordorder.training.compute import Compute
from wordorder.training.config import TrainConfig
from wordorder.training.plan import Plan, Timing


def plan(**changes: Any) -> Plan:
    values = {
        "config": TrainConfig(time="45s"),
        "compute": Compute("cpu", 1),
        "data": {},
        "parameters": {"total": 5_000_000, "position": 0},
        "steps": 30,
        "tokens_per_step": 2048,
        "epochs": 0.3,
        "peak_bytes": 1,
        "seconds": 45.0,
        "timing": Timing(1.5, 45.0),
    }
    return Plan(**{**values, **changes})


def test_too_few_steps_are_said_with_what_to_do() -> None:
    assert plan().warnings() == [
        "only 30 steps fit into 45 s, too few for a model to learn anything: use --preset nano, "
        "--time 10m, or a less busy machine"
    ]
    one = plan(steps=1, timing=Timing(1.5, 0.2)).warnings()
    assert one[0].startswith("only 1 step fits into 45 s, ")
    small = plan(parameters={"total": 1_000_000, "position": 0}).warnings()
    assert "--preset" not in small[0] and "--time 10m" in small[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 200},
        {"config": TrainConfig(steps=30), "timing": Timing(1.5, None)},  # as was asked
    ],
)
def test_enough_steps_are_not_warned_of(changes: dict[str, Any]) -> None:
    assert not plan(**changes).warnings()


def test_many_passes_are_said_with_what_to_do() -> None:
    enough = {"steps": 900}
    assert not plan(epochs=4.0, **enough).warnings()
    (line,) = plan(epochs=9.2, **enough).warnings()
    assert line.startswith("the text will be read 9.2 times; beyond about 5 times")
    assert "Muennighoff et al. 2023" in line and "--data" in line


def test_a_timing_comes_back_from_its_record() -> None:
    whole = plan(timing=Timing(0.5, 43.0, (1, 2)))
    assert Timing.from_dict(whole.to_dict()) == whole.timing
    assert Timing.from_dict({"steps": 5}) == Timing()  # of a run from before it was recorded
