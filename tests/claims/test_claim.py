"""A criterion, fixed before, must be able to fail, and to stay undecided."""

from __future__ import annotations

import pytest

from wordorder.claims.catalogue import CLAIMS, find
from wordorder.claims.claim import (
    DIRECTION,
    FAILS,
    HOLDS,
    UNDECIDED,
    Claim,
    Criterion,
    Plan,
    Reading,
    judge,
)
from wordorder.errors import BadInput


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


def test_what_holds_by_construction_holds_for_every_value() -> None:
    exact = Criterion("x", most=1e-5, exact=True)
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
    claim = Claim("x", "article", "", "", "", "", criteria, lambda p: [], lambda p, r: Reading({}))
    assert judge(claim, Reading(values)).word == word


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
    plan = Plan(seeds=2)
    jobs: dict[str, object] = {}
    for name, claim in CLAIMS.items():
        assert claim.name == name and claim.criteria and claim.protocol and claim.theirs
        assert claim.statement.endswith(".") and claim.source
        for work in claim.works(plan):
            assert jobs.setdefault(work.name, work.job) == work.job, "one name, two jobs"


@pytest.mark.parametrize("name", CLAIMS)
def test_nothing_measured_is_undecided(name: str) -> None:
    claim = CLAIMS[name]
    assert judge(claim, claim.read(Plan(), {})).word == UNDECIDED


def test_claims_are_found_by_name_and_by_whose_they_are() -> None:
    assert [c.name for c in find(["bag-of-words"])] == ["bag-of-words"]
    assert {c.of for c in find(["article"])} == {"article"}
    assert len(find([])) == len(CLAIMS)
    with pytest.raises(BadInput, match="no claim 'bag-of-word': did you mean bag-of-words"):
        find(["bag-of-word"])
