"""A criterion, fixed before, must be able to fail, to stay undecided, and to wait for its gate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from wordorder.claims.catalogue import CLAIMS, find
from wordorder.claims.claim import (
    DIRECTION,
    FAILS,
    HOLDS,
    NOT_TESTABLE,
    UNDECIDED,
    Claim,
    ClaimPlan,
    Criterion,
    Gate,
    Measurements,
    judge,
)
from wordorder.claims.intervals import Gains
from wordorder.errors import BadInput
from wordorder.experiments.statistics import Interval


@pytest.mark.parametrize(
    ("least", "most", "values", "word"),
    [
        (0.3, None, (0.5, 0.52, 0.51), HOLDS),
        (0.3, None, (0.1, 0.11, 0.12), DIRECTION),  # shown to be above 0, and below the threshold
        (0.3, None, (-0.1, -0.11, -0.12), FAILS),
        (0.3, None, (0.0, 0.01, -0.01), FAILS),  # no sign shown
        (0.3, None, (0.1, 0.5, 0.3), UNDECIDED),
        (0.3, None, (0.9,), UNDECIDED),  # one seed: no interval
        (0.3, None, (), UNDECIDED),
        (None, 0.0, (-0.2, -0.21, -0.22), HOLDS),
        (None, 0.0, (0.2, 0.21, 0.22), FAILS),
        (None, 0.02, (0.05, 0.06, 0.07), FAILS),  # closeness has no direction
        (None, -0.3, (-0.1, -0.11, -0.12), DIRECTION),
        (-0.03, 0.03, (0.01, 0.012, 0.008), HOLDS),
        (-0.03, 0.03, (0.05, 0.06, 0.055), FAILS),
        (-0.03, 0.03, (-0.05, -0.06, -0.055), FAILS),
        (-0.03, 0.03, (0.02, 0.03, 0.04), UNDECIDED),
    ],
)
def test_a_criterion_judges_the_whole_interval(
    least: float | None, most: float | None, values: tuple[float, ...], word: str
) -> None:
    assert Criterion("x", least, most).judge(values) == word


@pytest.mark.parametrize(
    ("neutral", "values", "word"),
    [
        (1.0, (0.7, 0.71, 0.72), FAILS),  # slower is no direction of faster
        (1.0, (1.1, 1.11, 1.12), DIRECTION),
        (None, (1.1, 1.11, 1.12), FAILS),
    ],
)
def test_a_ratio_has_its_sign_from_one(
    neutral: float | None, values: tuple[float, ...], word: str
) -> None:
    assert Criterion("x", least=1.5, neutral=neutral).judge(values) == word


def test_what_holds_by_construction_holds_for_every_value() -> None:
    exact = Criterion("x", most=1e-5, kind="exact")
    assert exact.judge([1e-9]) == HOLDS
    assert exact.judge([1e-9, 1e-3]) == FAILS


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"a": (1, 1.01, 1.02), "b": (1, 1.01, 1.02)}, HOLDS),
        ({"a": (1, 1.01, 1.02), "b": (0.1, 0.11, 0.12)}, DIRECTION),
        ({"a": (1, 1.01, 1.02)}, UNDECIDED),
        ({"a": (-1, -1.01, -1.02)}, FAILS),
        ({"a": (0.1, 0.11, 0.12), "b": (0.0, 1, 0.5)}, UNDECIDED),
    ],
)
def test_a_claim_is_as_good_as_its_worst_criterion(
    values: dict[str, tuple[float, ...]], word: str
) -> None:
    criteria = Criterion("a", least=0.5), Criterion("b", least=0.5)
    assert judge(claim_of(*criteria, causes={"a": "known"}), Measurements(values)).word == word


def claim_of(*criteria: Criterion, **how: Any) -> Claim:
    return Claim(
        "x", "article", "", "", "", "", criteria, lambda p: [], lambda p, r: Measurements({}), **how
    )


UP = (1.0, 1.01, 1.02)
DOWN = (-1.0, -1.01, -1.02)
LEAST = Criterion("a", least=0.5)


@pytest.mark.parametrize(
    ("gate", "values", "spares", "word"),
    [
        (UP, UP, (), HOLDS),
        (DOWN, UP, (), NOT_TESTABLE),  # would have held, vacuously
        (DOWN, DOWN, (), NOT_TESTABLE),  # would have failed for nothing
        ((0.0, 1.0, 0.5), UP, (), NOT_TESTABLE),  # a gate must be shown to be met
        ((1.0,), UP, (), UNDECIDED),  # one seed shows nothing
        ((), UP, (), UNDECIDED),
        (DOWN, (), (), UNDECIDED),  # nothing was measured
        (DOWN, UP, (HOLDS,), HOLDS),
        (DOWN, DOWN, (FAILS,), FAILS),
        (DOWN, UP, (FAILS,), NOT_TESTABLE),
    ],
)
def test_a_gate_that_is_not_met_leaves_a_claim_untested(
    gate: tuple[float, ...], values: tuple[float, ...], spares: tuple[str, ...], word: str
) -> None:
    gates = (Gate(Criterion("g", least=0.5), "more of it", spares=spares),)
    claim = claim_of(LEAST, gates=gates, causes={"a": "known"})
    found = judge(claim, Measurements({"a": values, "g": gate}))
    assert found.word == word
    assert ("needs more of it" in found.reasons) == (word == NOT_TESTABLE)


def test_a_gate_guards_the_criteria_it_names() -> None:
    gate = Gate(Criterion("g", least=0.5), "more", of=("b",))
    claim = claim_of(LEAST, Criterion("b", least=0.5), gates=(gate,), causes={"a": "known"})
    values = {"a": DOWN, "b": DOWN, "g": DOWN}
    assert judge(claim, Measurements(values)).by_criterion == (FAILS, NOT_TESTABLE)
    # What is refuted by one criterion is refuted, whatever another could not test.
    assert judge(claim, Measurements(values)).word == FAILS
    assert judge(claim, Measurements({**values, "a": (0.0, 1.0, 0.5)})).word == NOT_TESTABLE
    # A failure without a known cause is undecided, which a criterion that is not testable outdoes.
    assert judge(replace(claim, causes={}), Measurements(values)).word == NOT_TESTABLE


def test_too_few_seeds_are_said_and_decide_nothing() -> None:
    claim = claim_of(LEAST, Criterion("e", most=1, kind="exact"), seeds_needed=5)
    measurements = Measurements({"a": UP, "e": [0.5]})
    found = judge(claim, measurements, seeds=3)
    assert (found.word, found.by_criterion) == (NOT_TESTABLE, (NOT_TESTABLE, HOLDS))
    assert found.reasons == ("needs 5 seeds, has 3",)
    assert judge(claim, measurements, seeds=5).word == HOLDS


def test_a_claim_takes_the_seeds_that_it_needs_where_it_may() -> None:
    claim = claim_of(LEAST, seeds_needed=5)
    assert claim.plan(ClaimPlan(as_needed=True)).seeds == 5
    assert claim.plan(ClaimPlan(seeds=7, as_needed=True)).seeds == 7
    assert claim.plan(ClaimPlan(seeds=3)).seeds == 3


def test_what_nobody_can_explain_is_not_printed_as_a_failure() -> None:
    found = judge(claim_of(LEAST), Measurements({"a": DOWN}))
    assert (found.word, found.by_criterion) == (UNDECIDED, (FAILS,))
    assert found.reasons == ("a: contradicts the source, and the cause is unknown",)
    explained = judge(claim_of(LEAST, causes={"a": "too little text"}), Measurements({"a": DOWN}))
    assert (explained.word, explained.reasons) == (FAILS, ("cause: too little text",))
    both = claim_of(LEAST, Criterion("b", least=0), causes={"a": "too little text"})
    assert judge(both, Measurements({"a": DOWN, "b": DOWN})).word == FAILS
    exact = claim_of(Criterion("a", least=0.5, kind="exact"))
    assert judge(exact, Measurements({"a": [0.1]})).word == FAILS  # arithmetic has no other cause


def test_what_is_missing_is_needed() -> None:
    found = judge(claim_of(LEAST), Measurements({}, needs=("no vectors: add --words FILES",)))
    assert (found.word, found.reasons) == (NOT_TESTABLE, ("no vectors: add --words FILES",))


def test_a_gain_must_be_shown_over_documents_too() -> None:
    gate = Criterion("g", least=0.01)
    seeds = {0: 0.030, 1: 0.031, 2: 0.032}
    for reach, word in ((0.005, HOLDS), (0.05, UNDECIDED)):
        gains = Gains({s: Interval(g, g - reach, g + reach) for s, g in seeds.items()})
        assert gate.judge(gains) == word


@pytest.mark.parametrize(
    ("criterion", "written"),
    [
        (Criterion("rise", least=0.3), "rise at least 0.3"),
        (Criterion("rise", most=0), "rise at most 0"),
        (Criterion("rise", least=-0.03, most=0.03), "rise within ±0.03"),
        (Criterion("right", least=33, most=37), "right from 33 to 37"),
    ],
)
def test_a_criterion_reads_as_a_sentence(criterion: Criterion, written: str) -> None:
    assert str(criterion) == written


def test_every_claim_says_all_that_it_must() -> None:
    plan = ClaimPlan(seeds=2)
    jobs: dict[str, object] = {}
    for name, claim in CLAIMS.items():
        assert claim.name == name and claim.criteria and claim.protocol and claim.theirs
        assert claim.statement.endswith(".") and claim.source
        for work in claim.works(plan):
            assert jobs.setdefault(work.name, work.job) == work.job, "one name, two jobs"


@pytest.mark.parametrize("name", CLAIMS)
def test_nothing_measured_decides_nothing(name: str) -> None:
    claim = CLAIMS[name]
    of_words = name in ("king-and-queen", "word2vec-analogies")  # nothing to ask is given
    word = NOT_TESTABLE if of_words else UNDECIDED
    assert judge(claim, claim.read(ClaimPlan(), {})).word == word


LENGTHS = {
    "sinusoidal-generalises",
    "rotary-suits-long",
    "sinusoidal-breaks",
    "rotary-breaks-later",
    "t5-lasts",
    "alibi-survives",
    "biases-agree",
    "log-temperature-past-the-length",
    "interpolation-untuned",
    "tuned-interpolation",
    "dropped-rotary",
    "none-knows-position",
}


def test_every_claim_about_length_asks_first_what_context_is_worth() -> None:
    gated = {
        name
        for name, claim in CLAIMS.items()
        if any("last doubling" in gate.criterion.quantity for gate in claim.gates)
    }
    assert gated == LENGTHS


def test_gates_and_causes_are_of_quantities_that_are_judged() -> None:
    for name, claim in CLAIMS.items():
        judged = {criterion.quantity for criterion in claim.criteria}
        assert set(claim.causes) <= judged, name
        for gate in claim.gates:
            assert set(gate.of) <= judged and gate.needs, name


def test_claims_are_found_by_name_and_by_whose_they_are() -> None:
    assert [c.name for c in find(["bag-of-words"])] == ["bag-of-words"]
    assert {c.of for c in find(["article"])} == {"article"}
    assert len(find([])) == len(CLAIMS)
    with pytest.raises(BadInput) as caught:
        find(["bag-of-word"])
    assert caught.value.code == "claims.unknown-claim"
    assert "did you mean bag-of-words?" in str(caught.value)
