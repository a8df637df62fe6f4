"""Speed against a GRU: planted rates, equal conditions, and a job that times."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from wordorder.claims import speed
from wordorder.claims.claim import FAILS, HOLDS, NOT_TESTABLE, ClaimPlan, Verdict, judge
from wordorder.claims.speed import LENGTHS, time_both

(CLAIM,) = speed.CLAIMS
PLAN = ClaimPlan(seeds=3)
SPREAD = (1.0, 1.02, 0.98)  # of processes


def verdict(ratio: float, room: float, **others: float) -> Verdict:
    """The verdict where a transformer is so many times as fast, and more rows so much faster."""
    results = {}
    for work in CLAIM.works(PLAN):
        spread = SPREAD[work.job["process"]]
        results[work.name] = {
            "transformer float32": 1000 * ratio * spread,
            "gru float32": 1000.0,
            "more-rows": 1000 * room * spread,
            **others,
        }
    return judge(CLAIM, CLAIM.read(PLAN, results))


@pytest.mark.parametrize(
    ("ratio", "room", "word"),
    [
        (1.5, 3.0, HOLDS),
        (1.5, 1.0, HOLDS),  # faster even where one step of the GRU keeps all busy
        (0.7, 3.0, FAILS),
        (0.7, 1.1, NOT_TESTABLE),
    ],
)
def test_the_claim_holds_and_fails_and_cannot_be_tested(
    ratio: float, room: float, word: str
) -> None:
    found = verdict(ratio, room)
    assert set(found.by_criterion) == {word} and found.word == word
    if word == NOT_TESTABLE:
        assert found.reasons[0].startswith("needs hardware with more parallelism")


def test_both_are_compared_in_the_same_dtype() -> None:
    """A transformer that is fast in bfloat16 alone is told, and decides nothing."""
    found = verdict(0.7, 3.0, **{"transformer bfloat16": 9000.0, "gru bfloat16": 10.0})
    assert found.word == FAILS
    assert "transformer bfloat16 9,000 tokens/s" in found.measurements.notes[0]


def test_processes_are_the_replicates() -> None:
    works = CLAIM.works(PLAN)
    assert len({work.name for work in works}) == len(LENGTHS) * PLAN.seeds
    assert all(work.alone for work in works)
    found = verdict(1.5, 3.0).measurements.quantities
    assert all(len(values) == PLAN.seeds for values in found.values())


def test_the_job_times_every_kind_of_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "TOKENS", 64)
    monkeypatch.setattr(speed, "ROUNDS", 1)
    dtypes: dict[str, Any] = {}
    step = speed._step

    def noted(kind: str, length: int, machine: Any, rows: int = 0) -> Any:
        dtypes[f"{kind} {machine.dtype} {rows}"] = machine
        return step(kind, length, machine, rows)

    monkeypatch.setattr(speed, "_step", noted)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    job = {"length": 16, "machine": {"device": "cpu", "threads": 1, "dtype": "bfloat16"}}
    found = time_both(job, lambda share, line: None)
    torch.set_num_threads(before)
    assert found == json.loads(json.dumps(found))
    assert {"transformer float32", "gru float32", "more-rows"} <= set(found)
    assert all(rate > 0 for rate in found.values())
    # Whatever dtype this machine computes in, both are timed in float32, and with more rows too.
    assert {"transformer float32 0", "gru float32 0", "gru float32 16"} <= set(dtypes)
