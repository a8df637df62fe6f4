"""Flip-flop: planted errors turn the verdict, and a small model trains."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch

from wordorder.claims import flip_flop
from wordorder.claims.claim import DIRECTION, FAILS, HOLDS, UNDECIDED, Plan, Verdict, judge
from wordorder.claims.flip_flop import ONE_LAYER, TOLD, TWO_LAYERS, train, work

PLAN = Plan(seeds=3)
(CLAIM,) = flip_flop.CLAIMS
SPREAD = (0.0, 0.005, -0.005)  # of seeds


def planted(rotary: float, path: float, path_within: float = 0.0) -> dict[str, Any]:
    """Results of every work, by the errors on sparse."""
    found = {}
    for seed in range(PLAN.seeds):
        for position, error, within in (("rotary", rotary, 0.2), ("path", path, path_within)):
            sparse = max(0.0, error + SPREAD[seed])
            errors = {"trained": within, "sparse": sparse, "dense": 0.0}
            found[work(position, seed).name] = errors
    for position, protocol in TOLD:
        errors = {"trained": 0.1, "sparse": 0.4, "dense": 0.0}
        found[work(position, 0, protocol).name] = errors
    return found


def verdict(results: dict[str, Any]) -> Verdict:
    return judge(CLAIM, CLAIM.read(PLAN, results))


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
def test_the_criterion_can_hold_and_can_fail(rotary: float, path: float, word: str) -> None:
    assert verdict(planted(rotary, path)).word == word


def test_path_is_not_judged_where_it_has_not_learned() -> None:
    found = verdict(planted(0.4, 0.0, path_within=0.3))
    assert found.word == UNDECIDED
    assert "PaTH is judged where its error in distribution is at most 0.05" in found.reading.said


def test_without_results_nothing_is_decided() -> None:
    assert verdict({}).word == UNDECIDED
    results = {n: r for n, r in planted(0.4, 0.0).items() if "path" not in n}
    assert verdict(results).word == UNDECIDED


def test_a_rotary_without_error_leaves_nothing_to_halve() -> None:
    results = planted(0.0, 0.0)
    for seed in range(PLAN.seeds):
        results[work("rotary", seed).name]["sparse"] = 0.0
    assert CLAIM.read(PLAN, results).quantities["PaTH's error by rotary's"] == []
    assert verdict(results).word == FAILS


def test_what_no_criterion_hangs_on_is_told_too() -> None:
    said = CLAIM.read(PLAN, planted(0.4, 0.0)).said
    assert len(said) == 5
    assert "rotary, 2 layers: error 0.100 in distribution, 0.400 on sparse, 0.000 on dense" in said


def test_models_of_one_and_of_two_layers_are_different_works() -> None:
    names = [each.name for each in CLAIM.works(PLAN)]
    assert len(set(names)) == len(names) == 9
    assert work("rotary", 0, TWO_LAYERS).name != work("rotary", 0).name


@pytest.mark.parametrize("position", ["rotary", "path"])
def test_the_job_trains_and_tests(position: str) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    small = replace(ONE_LAYER, length=7, steps=4, batch_size=4, width=16, examples=8, tests=1)
    job = {"protocol": asdict(small), "position": position, "seed": 1}
    found = train(job, lambda share, line: None)
    torch.set_num_threads(before)
    assert found == json.loads(json.dumps(found))
    assert set(found) == {"trained", "sparse", "dense"}
    assert all(0 <= error <= 1 for error in found.values())
