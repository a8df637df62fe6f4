"""Claims about tasks past the length: planted curves turn the verdicts, a small model trains."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
import torch

from wordorder.claims import counting
from wordorder.claims.claim import FAILS, HOLDS, UNDECIDED, Claim, Plan, Verdict, judge
from wordorder.claims.counting import ADDITION, COPY, REPEAT, Practice, train_and_test
from wordorder.experiments.task_training import Protocol

PLAN = Plan(seeds=3)
CLAIMS = {claim.name: claim for claim in counting.CLAIMS}
REPEATING, COPYING, ADDING = CLAIMS.values()
SPREAD = (0.0, 0.01, -0.01)  # of seeds

Right = dict[tuple[str, str], float]  # by task and embedding, beyond the length


def curve(practice: Practice, beyond: float, within: float = 1.0) -> list[dict[str, Any]]:
    """What a model scores that is right beyond for a while, and no more at last."""
    first, *others = map(str, practice.lengths)
    return [
        {"step": step, "exact": {first: within, **dict.fromkeys(others, each)}}
        for step, each in ((10, 0.0), (20, beyond), (30, beyond / 2))
    ]


def planted(right: Right, within: Right | None = None) -> dict[str, Any]:
    """Results of every work; 0 beyond and 1 within where nothing else is asked for."""
    found = {}
    for practice in (REPEAT, COPY, ADDITION):
        for position in practice.positions:
            for seed in range(PLAN.seeds):
                key = practice.name, position
                beyond = min(1.0, max(0.0, right.get(key, 0.0) + SPREAD[seed]))
                learned = (within or {}).get(key, 1.0)
                work = practice.work(position, seed)
                found[work.name] = {"curve": curve(practice, beyond, learned)}
    return found


def verdict(claim: Claim, results: dict[str, Any]) -> Verdict:
    return judge(claim, claim.read(PLAN, results))


@pytest.mark.parametrize(
    ("claim", "right", "word"),
    [
        (REPEATING, {("repeat", "none"): 0.9}, HOLDS),
        (REPEATING, {("repeat", "none"): 0.9, ("repeat", "rotary"): 0.3}, FAILS),
        (REPEATING, {("repeat", "none"): 0.9, ("repeat", "sinusoidal"): 0.3}, FAILS),
        (REPEATING, {("repeat", "none"): 0.5}, UNDECIDED),
        (COPYING, {("repeat", "none"): 0.9, ("copy", "none"): 0.2}, HOLDS),
        (COPYING, {("repeat", "none"): 0.9, ("copy", "rotary"): 0.5}, HOLDS),
        (COPYING, {("repeat", "none"): 0.5, ("copy", "none"): 0.9}, FAILS),
        (
            COPYING,
            {("repeat", "none"): 0.5, ("copy", "none"): 0.9, ("copy", "rotary"): 0.8},
            HOLDS,
        ),
        (COPYING, {("repeat", "rotary"): 0.5}, UNDECIDED),  # no advantage to be smaller than
        (ADDING, {}, HOLDS),
        (ADDING, {("addition", "t5"): 0.5}, FAILS),
    ],
)
def test_each_criterion_can_hold_and_can_fail(claim: Claim, right: Right, word: str) -> None:
    assert verdict(claim, planted(right)).word == word


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_what_is_not_right_within_is_not_judged_beyond(claim: Claim) -> None:
    task = {REPEATING.name: "repeat", COPYING.name: "copy", ADDING.name: "addition"}[claim.name]
    key = task, "rotary"
    found = verdict(claim, planted({("repeat", "none"): 0.9}, within={key: 0.8}))
    assert found.word == UNDECIDED
    assert f"{task}, rotary, seed 0: not judged beyond, right within in 0.80 at most" in (
        found.reading.said
    )


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_without_results_nothing_is_decided(claim: Claim) -> None:
    assert verdict(claim, {}).word == UNDECIDED
    one = dict(list(planted({}).items())[:1])
    assert verdict(claim, one).word == UNDECIDED


def test_the_best_checkpoint_is_judged_and_the_last_is_told() -> None:
    reading = REPEATING.read(PLAN, planted({("repeat", "none"): 0.8}))
    assert reading.quantities["none at 28"] == pytest.approx([0.8, 0.81, 0.79])
    assert "at last 1.00 1.00 1.00 at 20, 0.40 0.41 0.40 at 24" in reading.said[0]


def test_a_checkpoint_before_the_task_is_learned_is_never_the_best() -> None:
    early = {"step": 1, "exact": {"8": 0.5, "9": 1.0, "10": 1.0}}
    late = {"step": 2, "exact": {"8": 1.0, "9": 0.1, "10": 0.0}}
    assert ADDITION.best([early, late]) is late
    assert ADDITION.best([early]) is None


def test_claims_that_need_the_same_models_share_their_works() -> None:
    shared = {work.name for work in REPEATING.works(PLAN)}
    assert shared < {work.name for work in COPYING.works(PLAN)}


def test_the_job_trains_and_tests_and_is_a_function_of_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    protocol = Protocol("repeat", 4, 4, batch_size=4, width=16, layers=1, examples=4, tests=2)
    job = {"protocol": asdict(protocol), "position": "rotary", "seed": 1, "lengths": [4, 5]}
    told: list[float] = []
    tell: Callable[[float, str], None] = lambda share, line: told.append(share)  # noqa: E731
    found = train_and_test(json.loads(json.dumps(job)), tell)
    torch.set_num_threads(before)
    assert [c["step"] for c in found["curve"]] == [2, 4]
    assert told == [0.5, 1.0]
    assert set(found["curve"][0]["exact"]) == {"4", "5"}
    assert found == json.loads(json.dumps(found))
