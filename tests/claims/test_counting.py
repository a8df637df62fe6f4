"""Claims about tasks past the length: planted curves turn the verdicts, a small model trains."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
import torch

from wordorder.claims import counting
from wordorder.claims.claim import (
    FAILS,
    HOLDS,
    NOT_TESTABLE,
    UNDECIDED,
    Claim,
    ClaimPlan,
    Verdict,
    judge,
)
from wordorder.claims.counting import ADDITION, COPY, REPEAT, Practice, examples_of, train_and_test
from wordorder.claims.intervals import Shares
from wordorder.experiments.task_training import Protocol

PLAN = ClaimPlan(seeds=60)  # as many as the first of these claims needs
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
                beyond = min(1.0, max(0.0, right.get(key, 0.0) + SPREAD[seed % 3]))
                learned = (within or {}).get(key, 1.0)
                work = practice.work(position, seed)
                found[work.name] = {"curve": curve(practice, beyond, learned)}
    return found


def verdict(claim: Claim, results: dict[str, Any]) -> Verdict:
    return judge(claim, claim.read(PLAN, results), seeds=PLAN.seeds)


@pytest.mark.parametrize(
    ("claim", "right", "words"),
    [
        (REPEATING, {("repeat", "none"): 0.9}, (HOLDS, HOLDS, HOLDS)),
        (
            REPEATING,
            {("repeat", "none"): 0.9, ("repeat", "rotary"): 0.3},
            (HOLDS, FAILS, HOLDS),
        ),
        (
            REPEATING,
            {("repeat", "none"): 0.9, ("repeat", "sinusoidal"): 0.3},
            (HOLDS, HOLDS, FAILS),
        ),
        (REPEATING, {("repeat", "none"): 0.5}, (UNDECIDED, HOLDS, HOLDS)),
        (REPEATING, {}, ("direction only", HOLDS, HOLDS)),
        (COPYING, {("repeat", "none"): 0.9, ("copy", "none"): 0.2}, (HOLDS, HOLDS)),
        (COPYING, {("repeat", "none"): 0.9, ("copy", "rotary"): 0.5}, (HOLDS, HOLDS)),
        (COPYING, {("repeat", "none"): 0.5, ("copy", "none"): 0.9}, (FAILS, FAILS)),
        (
            COPYING,
            {("repeat", "none"): 0.5, ("copy", "none"): 0.9, ("copy", "rotary"): 0.8},
            (HOLDS, FAILS),
        ),
        (COPYING, {("repeat", "none"): 0.4, ("copy", "none"): 0.4}, (UNDECIDED, UNDECIDED)),
        # No lead in repeating that could be smaller in copying.
        (COPYING, {("repeat", "rotary"): 0.5}, (NOT_TESTABLE, NOT_TESTABLE)),
        (ADDING, {}, (HOLDS, HOLDS, HOLDS, HOLDS)),
        (ADDING, {("addition", "t5"): 0.5}, (HOLDS, FAILS, HOLDS, HOLDS)),
        (ADDING, {("addition", "none"): 0.2}, (UNDECIDED, HOLDS, HOLDS, HOLDS)),
    ],
)
def test_each_criterion_can_hold_and_can_fail(
    claim: Claim, right: Right, words: tuple[str, ...]
) -> None:
    assert verdict(claim, planted(right)).by_criterion == words


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_where_models_have_not_learned_nothing_is_tested(claim: Claim) -> None:
    task = {REPEATING.name: "repeat", COPYING.name: "copy", ADDING.name: "addition"}[claim.name]
    key = task, "rotary"
    results = planted({("repeat", "none"): 0.9}, within={key: 0.8})
    found = verdict(claim, results)
    assert found.word in (UNDECIDED, NOT_TESTABLE)
    assert (
        f"{task}, rotary, seed 0: not evaluated beyond the length: accuracy within at most 0.80"
        in (found.measurements.notes)
    )
    # Half of them are too few to speak for all: a control that never learned refutes nothing.
    practice = {"repeat": REPEAT, "copy": COPY, "addition": ADDITION}[task]
    for seed in range(0, PLAN.seeds, 2):
        results[practice.work("rotary", seed).name] = {"curve": curve(practice, 0.9)}
    found = verdict(claim, results)
    assert found.word == NOT_TESTABLE
    assert any("until most models reach an accuracy" in reason for reason in found.reasons)


def test_the_seeds_that_three_cannot_be_are_asked_for() -> None:
    few = ClaimPlan(seeds=3)
    for claim in CLAIMS.values():
        measurements = claim.read(few, planted({("repeat", "none"): 0.9}))
        found = judge(claim, measurements, seeds=few.seeds)
        assert found.word == NOT_TESTABLE
        assert f"needs {claim.seeds_needed} seeds, has 3" in found.reasons


def test_shares_stay_within_what_can_be() -> None:
    found = verdict(REPEATING, planted({("repeat", "none"): 0.99}))
    for name, each in found.intervals.items():
        assert each.low is not None and each.high is not None
        assert 0 <= each.low <= each.high <= 1, name


def test_an_example_is_counted_once() -> None:
    examples = examples_of(REPEAT.protocol, 28)
    assert len(examples) == len({tuple(example.tokens) for example in examples}) == 26
    assert REPEAT.right(PLAN, {}, "none", 28).tests == 26
    assert len(examples_of(COPY.protocol, 28)) == COPY.protocol.examples


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_without_results_nothing_is_decided(claim: Claim) -> None:
    assert verdict(claim, {}).word == UNDECIDED
    one = dict(list(planted({}).items())[:1])
    assert verdict(claim, one).word == UNDECIDED


def test_the_best_checkpoint_is_judged_and_the_last_is_told() -> None:
    measurements = REPEATING.read(PLAN, planted({("repeat", "none"): 0.8}))
    right = measurements.quantities["none at 28"]
    assert isinstance(right, Shares)
    assert [right.by_seed[s] for s in range(3)] == pytest.approx([0.8, 0.81, 0.79])
    assert (
        "last checkpoint 1.00 1.00 1.00" in measurements.notes[0]
        and "0.40 0.41 0.40" in measurements.notes[0]
    )


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
