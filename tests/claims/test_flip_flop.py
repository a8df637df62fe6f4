"""Flip-flop: planted errors turn the verdicts, and a small model trains."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch

from wordorder.claims import flip_flop
from wordorder.claims.claim import (
    DIRECTION,
    FAILS,
    HOLDS,
    UNDECIDED,
    Claim,
    Plan,
    Verdict,
    judge,
)
from wordorder.claims.flip_flop import ONE, TWO, train

PLAN = Plan(seeds=3)
ONE_LAYER, TWO_LAYERS = flip_flop.CLAIMS
BOTH = pytest.mark.parametrize("claim", flip_flop.CLAIMS, ids=lambda claim: claim.name)
SPREAD = (0.0, 0.005, -0.005)  # of seeds


def planted(rotary: float, path: float, /, **within: float) -> dict[str, Any]:
    """Results of every work, by the errors on sparse; in distribution 0 where not given."""
    found = {}
    for depth in (ONE, TWO):
        for seed in range(PLAN.seeds):
            for position, error in (("rotary", rotary), ("path", path)):
                found[depth.work(position, seed).name] = {
                    "trained": within.get(position, 0.0),
                    "sparse": max(0.0, error + SPREAD[seed]),
                    "dense": 0.0,
                }
        for position in depth.told:
            found[depth.work(position, 0).name] = {"trained": 0.1, "sparse": 0.4, "dense": 0.0}
    return found


def verdict(claim: Claim, results: dict[str, Any]) -> Verdict:
    return judge(claim, claim.read(PLAN, results))


@BOTH
@pytest.mark.parametrize(
    ("rotary", "path", "word"),
    [
        (0.4, 0.0, HOLDS),
        (0.4, 0.1, HOLDS),
        (0.4, 0.35, FAILS),
        (0.4, 0.2, UNDECIDED),
        (0.02, 0.0, DIRECTION),
        (0.1, 0.0, UNDECIDED),
    ],
)
def test_the_criteria_can_hold_and_can_fail(
    claim: Claim, rotary: float, path: float, word: str
) -> None:
    assert verdict(claim, planted(rotary, path)).word == word


@BOTH
def test_path_is_not_judged_where_it_has_not_learned(claim: Claim) -> None:
    found = verdict(claim, planted(0.4, 0.0, path=0.3))
    assert found.word == UNDECIDED
    line = "path, seed 0: not judged on sparse, its error in distribution is above 0.05"
    assert line in found.reading.said


def test_rotary_must_have_learned_where_it_can() -> None:
    results = planted(0.4, 0.0, rotary=0.3)
    assert verdict(ONE_LAYER, results).word == HOLDS
    assert verdict(TWO_LAYERS, results).word == UNDECIDED


@BOTH
def test_without_results_nothing_is_decided(claim: Claim) -> None:
    assert verdict(claim, {}).word == UNDECIDED
    results = {n: r for n, r in planted(0.4, 0.0).items() if "path" not in n}
    assert verdict(claim, results).word == UNDECIDED


@BOTH
def test_a_rotary_without_error_leaves_nothing_to_halve(claim: Claim) -> None:
    results = planted(0.0, 0.0)
    for errors in results.values():
        errors["sparse"] = 0.0
    found = verdict(claim, results)
    assert found.reading.quantities["PaTH's error by rotary's"] == []
    assert found.word == FAILS


def test_what_no_criterion_hangs_on_is_told_too() -> None:
    said = ONE_LAYER.read(PLAN, planted(0.4, 0.0)).said
    assert "cope: error 0.100 in distribution, 0.400 on sparse, 0.000 on dense" in said


def test_models_of_one_and_of_two_layers_are_different_works() -> None:
    names = [work.name for claim in flip_flop.CLAIMS for work in claim.works(PLAN)]
    assert len(set(names)) == len(names) == 14


@pytest.mark.parametrize("position", ["rotary", "path"])
def test_the_job_trains_and_tests(position: str) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    small = replace(ONE.protocol, length=7, steps=4, batch_size=4, width=16, examples=8, tests=1)
    job = {"protocol": asdict(small), "position": position, "seed": 1}
    found = train(job, lambda share, line: None)
    torch.set_num_threads(before)
    assert found == json.loads(json.dumps(found))
    assert set(found) == {"trained", "sparse", "dense"}
    assert all(0 <= error <= 1 for error in found.values())
