"""Randomized positions: what is asked of the encoder, where they are drawn, and the verdicts."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from wordorder.batch import Batch
from wordorder.claims import randomized
from wordorder.claims.claim import (
    DIRECTION,
    FAILS,
    HOLDS,
    NOT_TESTABLE,
    UNDECIDED,
    ClaimPlan,
    Verdict,
    judge,
)
from wordorder.claims.intervals import Contrast
from wordorder.claims.randomized import (
    EMBEDDINGS,
    LIMIT,
    TASKS,
    Strings,
    accuracy,
    train_on_strings,
    training_of,
    work,
)

PLAN = ClaimPlan(seeds=10)
(CLAIM,) = randomized.CLAIMS
SPREAD = (0.0, 0.01, -0.01, 0.005, -0.005) * 2  # of seeds


def planted(lifts: dict[str, float], within: float = 1.0) -> dict[str, Any]:
    """Results of every work: what randomized positions add to .3 beyond, by embedding."""
    found = {}
    for seed in range(PLAN.seeds):
        for task in TASKS:
            for position in EMBEDDINGS:
                plain = {"within": within, "beyond": 0.3, "beyond, plain positions": 0.3}
                lifted = 0.3 + lifts[position] + SPREAD[seed]
                drawn = {**plain, "beyond": lifted, "beyond, plain positions": 0.4}
                found[work(task, position, seed).name] = plain
                found[work(task, randomized.randomized(position), seed).name] = drawn
    return found


def verdict(results: dict[str, Any]) -> Verdict:
    return judge(CLAIM, CLAIM.read(PLAN, results), seeds=PLAN.seeds)


@pytest.mark.parametrize(
    ("sinusoidal", "rotary", "word"),
    [
        (0.3, 0.3, HOLDS),
        (0.05, 0.3, DIRECTION),
        (0.3, 0.0, FAILS),
        (-0.3, 0.3, FAILS),
        (0.1, 0.3, UNDECIDED),
    ],
)
def test_the_criterion_can_hold_and_can_fail(sinusoidal: float, rotary: float, word: str) -> None:
    found = verdict(planted({"sinusoidal": sinusoidal, "rotary": rotary}))
    assert word in found.by_criterion and {*found.by_criterion} <= {word, HOLDS}


def test_the_mean_is_over_tasks_and_learning_none_of_them_decides_nothing() -> None:
    results = planted({"sinusoidal": 0.3, "rotary": 0.3})
    for seed in range(PLAN.seeds):
        results[work("reverse-string", "rotary", seed).name].update(beyond=0.6, within=0.7)
    measurements = CLAIM.read(PLAN, results)
    lift = measurements.quantities["lift with rotary"]
    assert isinstance(lift, Contrast)
    assert list(lift.by_seed.values()) == pytest.approx([15.0, 16.0, 14.0, 15.5, 14.5] * 2)
    found = verdict(planted({"sinusoidal": 0.3, "rotary": 0.3}, within=0.9))
    assert found.word == NOT_TESTABLE
    assert "until models with plain positions learn one" in found.reasons[0]


def test_without_results_nothing_is_decided() -> None:
    assert verdict({}).word == UNDECIDED
    results = planted({"sinusoidal": 0.3, "rotary": 0.3})
    for seed in range(6):
        del results[work("bucket-sort", "rotary", seed).name]  # four are left
    assert verdict(results).word == UNDECIDED


def test_plain_positions_in_tests_are_told() -> None:
    notes = CLAIM.read(PLAN, planted({"sinusoidal": 0.3, "rotary": 0.3})).notes
    each = {share: " ".join([share] * 10) for share in ("1.00", "0.30", "0.40")}
    assert f"bucket-sort, rotary: {each['1.00']} within, {each['0.30']} beyond" in notes
    assert any(f"{each['0.40']} beyond, plain positions" in line for line in notes)


def test_blanks_follow_the_string_and_the_answer_belongs_into_them() -> None:
    for name, expected in (("reverse-string", lambda s: s[::-1]), ("bucket-sort", sorted)):
        task = TASKS[name]
        batch = task.draw(np.random.default_rng(0), rows=4, length=6)
        for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
            assert tokens[6:] == [task.symbols] * 6
            assert max(tokens[:6]) < task.symbols
            assert targets == [-1] * 6 + list(expected(tokens[:6]))


def test_a_batch_has_one_length_and_depends_on_seed_and_number_alone() -> None:
    strings = Strings(TASKS["bucket-sort"], seed=3)
    lengths = {strings.at(n).tokens.shape[1] // 2 for n in range(200)}
    assert min(lengths) == 1
    assert max(lengths) == 40
    assert (strings.at(5).tokens == Strings(TASKS["bucket-sort"], seed=3).at(5).tokens).all()


def test_positions_are_drawn_in_tests_for_randomized_alone(monkeypatch: Any) -> None:
    """A model that sorts by hand is right everywhere, and is fed what is said."""
    task = TASKS["bucket-sort"]
    monkeypatch.setattr(randomized, "TESTED", 2)
    for spec, drawn in (("rotary", False), (randomized.randomized("rotary"), True)):
        training = training_of(task, spec, seed=0, steps=1)
        fed: list[torch.Tensor | None] = []

        def hidden(batch: Batch) -> torch.Tensor:
            fed.append(batch.positions)  # noqa: B023
            tokens = batch.tokens
            half = tokens.shape[1] // 2
            ordered = tokens[:, :half].sort().values
            return torch.nn.functional.one_hot(torch.cat((ordered, ordered), 1), task.symbols)

        monkeypatch.setattr(training.model, "hidden", hidden)
        monkeypatch.setattr(training.model, "logits", lambda x: x)
        assert accuracy(training, task, range(41, 44), placed=True) == 1.0
        assert all((positions is not None) == drawn for positions in fed)
        if drawn:
            assert all((p.diff() > 0).all() and p.max() < LIMIT for p in fed if p is not None)
            assert max(int(p.max()) for p in fed if p is not None) > LIMIT / 2
        accuracy(training, task, range(41, 42), placed=False)
        assert fed[-1] is None


@pytest.mark.parametrize("position", ["sinusoidal", "randomized:limit=2048+sinusoidal"])
def test_the_job_trains_and_tests(monkeypatch: pytest.MonkeyPatch, position: str) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    for name, value in (("TESTED", 1), ("LENGTH", 5), ("LONGEST", 7), ("BATCH_SIZE", 2)):
        monkeypatch.setattr(randomized, name, value)
    job = {"task": "reverse-string", "position": position, "seed": 1, "steps": 2}
    found = train_on_strings(job, lambda share, line: None)
    torch.set_num_threads(before)
    assert found == json.loads(json.dumps(found))
    assert all(0 <= found[key] <= 1 for key in ("within", "beyond", "beyond, plain positions"))
    if position == "sinusoidal":
        assert found["beyond"] == found["beyond, plain positions"]
