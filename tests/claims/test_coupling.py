"""Coupled positions: planted curves turn the verdict, and tests use shifted positions."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from wordorder.claims import counting, coupling
from wordorder.claims.claim import FAILS, HOLDS, NOT_TESTABLE, UNDECIDED, ClaimPlan, Verdict, judge
from wordorder.claims.counting import Practice, examples_of, shifted, train_and_test
from wordorder.claims.coupling import COUPLED, LEARNED, PLAIN, SHIFT
from wordorder.experiments.task_training import Protocol, TaskRun, coupling_of
from wordorder.positions import ModelShape, build

PLAN = ClaimPlan(seeds=7)
(CLAIM,) = coupling.CLAIMS
DIRECTION = "direction only"
SPREAD = (0.0, 0.01, -0.01)  # of seeds


def planted(
    coupled: float, learned: float, rotary: float, within: dict[str, float] | None = None
) -> dict[str, Any]:
    """Results of every job, by accuracy at 10 digits; within the length 1 where not given."""
    found = {}
    beyond = {"coupled": coupled, "learned": learned, "rotary": rotary}
    tasks = {"coupled": COUPLED, "learned": LEARNED, "rotary": PLAIN}
    for key, task in tasks.items():
        first, *others = map(str, task.lengths)
        for position in task.positions:
            for seed in range(PLAN.seeds):
                right = min(1.0, max(0.0, beyond[key] + SPREAD[seed % 3]))
                exact = {first: (within or {}).get(key, 1.0), **dict.fromkeys(others, right)}
                found[task.work(position, seed).name] = {"curve": [{"step": 1, "exact": exact}]}
    return found


def verdict(results: dict[str, Any]) -> Verdict:
    return judge(CLAIM, CLAIM.read(PLAN, results), seeds=PLAN.seeds)


@pytest.mark.parametrize(
    ("right", "words"),
    [
        ((0.9, 0.05, 0.0), (HOLDS, HOLDS, HOLDS)),
        ((0.9, 0.8, 0.0), (HOLDS, DIRECTION, HOLDS)),
        ((0.9, 0.05, 0.95), (HOLDS, HOLDS, FAILS)),
        ((0.1, 0.0, 0.0), (FAILS, FAILS, FAILS)),
    ],
)
def test_each_criterion_can_hold_and_can_fail(
    right: tuple[float, float, float], words: tuple[str, ...]
) -> None:
    assert verdict(planted(*right)).by_criterion == words


def test_a_rival_that_has_not_learned_is_no_rival() -> None:
    found = verdict(planted(0.9, 0.0, 0.0, {"learned": 0.5}))
    assert found.by_criterion[0] == found.by_criterion[2] == HOLDS
    assert found.by_criterion[1] in (UNDECIDED, NOT_TESTABLE)
    assert verdict(planted(0.9, 0.0, 0.0, {"coupled": 0.5})).word in (UNDECIDED, NOT_TESTABLE)
    assert verdict({}).word == UNDECIDED


def test_the_rotary_models_are_those_of_the_claim_on_addition() -> None:
    adding = next(c for c in counting.CLAIMS if c.name == "adding-past-the-length")
    names = {work.name: work.job for work in adding.works(PLAN)}
    ours = {
        w.name: w.job for w in CLAIM.works(PLAN) if "rotary" in w.name and "coupled" not in w.name
    }
    assert ours and all(names[name] == job for name, job in ours.items())


@pytest.mark.parametrize("task", [COUPLED, LEARNED], ids=lambda task: task.name)
def test_training_reaches_every_position_of_the_tests(task: Practice) -> None:
    """No test asks for a row of a table that offsets never train."""
    given = task.protocol.training(task.positions[0], 0).model
    shape = ModelShape(given.heads, 16, width=given.width, trained_length=given.trained_length)
    layered = build(task.positions[0], shape)
    positions = shifted(coupling_of(task.protocol.task, task.positions[0]), SHIFT)
    assert positions is not None
    most = max(
        int(positions(e)[:-1].max()) for n in task.lengths for e in examples_of(task.protocol, n)
    )
    trained = max(p.max_training_position or 0 for p in layered.instances)
    assert most <= trained <= (layered.max_position or 0)


def test_positions_are_shifted_whether_a_task_gives_them_or_not() -> None:
    example = examples_of(COUPLED.protocol, 8)[0]
    given = coupling_of(COUPLED.protocol.task, COUPLED.positions[0])
    assert given is not None
    moved, plain = shifted(given, 4), shifted(None, 4)
    assert moved is not None and plain is not None and shifted(None, 0) is None
    assert moved(example).tolist() == [p + 4 for p in given(example)]
    assert plain(example).tolist() == list(range(4, 4 + len(example.tokens)))


@pytest.mark.parametrize(
    ("position", "shift"),
    [("coupled:most=6+learned:length=16", 2), ("offset:most=6+learned:length=40", 3)],
)
def test_the_job_tests_with_shifted_positions(
    position: str, shift: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol = Protocol(
        "addition-reversed", 3, 2, batch_size=4, width=16, layers=1, heads=2, examples=4, tests=1
    )
    practice = Practice("tiny", protocol, (3, 4), (position,), 1.0, shift=shift)
    firsts: list[int] = []

    def score(model: Any, examples: Any, positions: Any) -> dict[str, float]:
        firsts.append(int(positions(examples[0])[0]))
        return {"exact": 0.5}

    monkeypatch.setattr(counting, "score", score)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    job = json.loads(json.dumps(practice.work(position, 0).job))
    found = train_and_test(job, lambda share, line: None)
    torch.set_num_threads(before)
    assert firsts == [shift, shift]
    assert found["curve"][0]["exact"] == {"3": 0.5, "4": 0.5}
    assert TaskRun(protocol, position, 0).model is not None
