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
    NOT_TESTABLE,
    UNDECIDED,
    Claim,
    ClaimPlan,
    Verdict,
    judge,
)
from wordorder.claims.flip_flop import ONE, TWO, train

PLAN = ClaimPlan(seeds=14)
ONE_LAYER, TWO_LAYERS, DATA_DEPENDENT = flip_flop.CLAIMS
BOTH = pytest.mark.parametrize("claim", (ONE_LAYER, TWO_LAYERS), ids=lambda claim: claim.name)
SPREAD = (0.0, 0.005, -0.005)  # of seeds


def planted(rotary: float, path: float, /, **within: float) -> dict[str, Any]:
    """Results of every work, by the errors on sparse; in distribution 0 where not given."""
    found = {}
    for depth in (ONE, TWO):
        for seed in range(PLAN.seeds):
            for position, error in (("rotary", rotary), ("path", path)):
                found[depth.work(position, seed).name] = {
                    "trained": within.get(position, 0.0),
                    "sparse": max(0.0, error + SPREAD[seed % 3]),
                    "dense": 0.0,
                }
        for position in depth.reported:
            found[depth.work(position, 0).name] = {"trained": 0.1, "sparse": 0.4, "dense": 0.0}
    return found


def verdict(claim: Claim, results: dict[str, Any]) -> Verdict:
    return judge(claim, claim.read(PLAN, results), seeds=PLAN.seeds)


@BOTH
@pytest.mark.parametrize(
    ("rotary", "path", "words"),
    [
        (0.4, 0.0, (HOLDS, HOLDS)),
        (0.4, 0.1, (HOLDS, HOLDS)),
        (0.4, 0.35, (HOLDS, FAILS)),
        (0.4, 0.2, (HOLDS, UNDECIDED)),
        (0.02, 0.0, (DIRECTION, UNDECIDED)),
        (0.1, 0.0, (UNDECIDED, UNDECIDED)),
    ],
)
def test_the_criteria_can_hold_and_can_fail(
    claim: Claim, rotary: float, path: float, words: tuple[str, ...]
) -> None:
    assert verdict(claim, planted(rotary, path)).by_criterion == words


@BOTH
@pytest.mark.parametrize("within", [{"path": 0.3}, {"rotary": 0.3}])
def test_models_that_err_in_distribution_say_nothing_of_sparse(
    claim: Claim, within: dict[str, float]
) -> None:
    found = verdict(claim, planted(0.4, 0.0, **within))
    assert found.word == NOT_TESTABLE
    (name,) = within
    assert found.reasons == (
        f"needs models of {name} with an accuracy of 0.90 in distribution: more steps, or "
        "more layers",
    )


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
    assert found.by_criterion[1] == UNDECIDED
    assert found.word in (FAILS, UNDECIDED)


def test_what_no_criterion_hangs_on_is_told_too() -> None:
    notes = ONE_LAYER.read(PLAN, planted(0.4, 0.0)).notes
    assert "cope: error 0.100 in distribution, 0.400 on sparse, 0.000 on dense" in notes


def test_models_of_one_and_of_two_layers_are_different_works() -> None:
    names = [work.name for claim in (ONE_LAYER, TWO_LAYERS) for work in claim.works(PLAN)]
    assert len(set(names)) == len(names) == 2 * 2 * PLAN.seeds + 2


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


def errors_of_all(sparse: dict[str, float], trained: dict[str, float]) -> dict[str, Any]:
    """Results of the models with two layers, by embedding; .1 on sparse where not given."""
    found = {}
    for work in DATA_DEPENDENT.works(PLAN):
        position, error = work.job["position"], SPREAD[work.job["seed"] % 3]
        found[work.name] = {
            "trained": trained.get(position, 0.0),
            "sparse": sparse.get(position, 0.1) + error,
            "dense": 0.0,
        }
    return found


@pytest.mark.parametrize(
    ("sparse", "words"),
    [
        ({"rotary": 0.4}, (HOLDS,) * 5),
        ({"rotary": 0.4, "forgetting": 0.6}, (HOLDS, FAILS, HOLDS, HOLDS, HOLDS)),
        ({"rotary": 0.4, "stick-breaking": 0.4}, (HOLDS,) * 4 + (UNDECIDED,)),
        ({}, (UNDECIDED,) * 5),
    ],
)
def test_every_embedding_that_depends_on_data_is_compared(
    sparse: dict[str, float], words: tuple[str, ...]
) -> None:
    assert verdict(DATA_DEPENDENT, errors_of_all(sparse, {})).by_criterion == words


def test_one_that_errs_in_distribution_is_not_compared() -> None:
    results = errors_of_all({"rotary": 0.4}, {"cope": 0.3})
    assert verdict(DATA_DEPENDENT, results).by_criterion == (
        HOLDS,
        HOLDS,
        NOT_TESTABLE,
        HOLDS,
        HOLDS,
    )
    of_rotary = errors_of_all({"rotary": 0.4}, {"rotary": 0.3})
    assert verdict(DATA_DEPENDENT, of_rotary).by_criterion == (NOT_TESTABLE,) * 5


def test_the_models_of_two_layers_are_shared() -> None:
    ours = {work.name for work in DATA_DEPENDENT.works(PLAN)}
    assert {work.name for work in TWO_LAYERS.works(PLAN)} < ours
    assert verdict(DATA_DEPENDENT, {}).word == UNDECIDED
