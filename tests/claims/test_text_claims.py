"""Claims about language models, read from planted results."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from wordorder.claims.catalogue import CLAIMS
from wordorder.claims.claim import (
    DIRECTION,
    FAILS,
    HOLDS,
    NOT_TESTABLE,
    UNDECIDED,
    WORST_FIRST,
    ClaimPlan,
    Verdict,
    judge,
)
from wordorder.claims.learning import CUT, STILL_ABOVE, loss_after, tokens_needed
from wordorder.claims.measurements import SCALED
from wordorder.claims.text_models import ASKED, FACTORS, LENGTH, text_model, train_text_model

PLAN = ClaimPlan(seeds=3)
LOSS = 4.5
SPREAD = (0.0, 0.002, -0.002)  # of seeds


def planted(seed: int) -> dict[str, Any]:
    """What a model would score whose loss is the same everywhere."""
    loss = LOSS + SPREAD[seed]
    lengths = [{"factor": float(f), "length": f * LENGTH, "loss": loss} for f in FACTORS]
    return {
        "validation_loss": loss,
        "whole_windows": lengths,
        "same_targets": {"lengths": copy.deepcopy(lengths)},
        "order": [{"change": "shifted", "meaning": "", "plain": loss, "loss": loss}],
        "removed": {"remainder": 1e-7, "positions": 0.3 + SPREAD[seed], "words": 2 + SPREAD[seed]},
        "resampled": {"refused": "position 128 is past the longest", "rise": 0.2 + SPREAD[seed]},
        "near-far": {
            "far": 0.01 + SPREAD[seed],
            "near": 0.6 + SPREAD[seed],
            "cut": over_documents(0.05 + SPREAD[seed]),
        },
        "last-doubling": over_documents(0.03 + SPREAD[seed]),
        "word-frequencies": LOSS + 1.5,
        "position-probe": [{"linear": 1.0, "network": e + SPREAD[seed]} for e in (1, 0.2, 0.1)],
        "scalings": {str(f): {"plain": 0.01 + SPREAD[seed]} for f in SCALED},
    }


def over_documents(gain: float, reach: float = 0.004) -> dict[str, float]:
    return {"mean": gain, "low": gain - reach, "high": gain + reach}


Change = Callable[[str, dict[str, Any], int], None]


def worst(name: str, *changes: Change) -> str:
    """Return the worst word of a claim's criteria after changing what its works' names ask for."""
    return min(verdict(name, *changes).by_criterion, key=WORST_FIRST.index)


def verdict(name: str, *changes: Change) -> Verdict:
    claim = CLAIMS[name]
    results = {}
    for work in claim.works(PLAN):
        seed = int(work.name.rpartition("seed")[2])
        results[work.name] = planted(seed)
        for change in changes:
            change(work.name, results[work.name], seed)
    return judge(claim, claim.read(PLAN, results))


def worse(prefix: str, by: float) -> Change:
    """The validation loss of models whose name begins so is higher."""

    def change(name: str, found: dict[str, Any], seed: int) -> None:
        if name.startswith(prefix):
            found["validation_loss"] += by + SPREAD[2 - seed]

    return change


def rises(prefix: str, factor: int, by: float, *, same_targets: bool = False) -> Change:
    """The loss of models whose name begins so is higher at a length."""

    def change(name: str, found: dict[str, Any], seed: int) -> None:
        if name.startswith(prefix):
            kind = found["same_targets"]["lengths"] if same_targets else found["whole_windows"]
            kind[FACTORS.index(factor)]["loss"] += by + SPREAD[2 - seed]

    return change


def sets(key: str, inner: str, value: float) -> Change:
    """What was asked of every model."""

    def change(name: str, found: dict[str, Any], seed: int) -> None:
        found[key][inner] = value + SPREAD[seed]

    return change


def rises_at_all(position: str, by: float) -> Change:
    """The loss of an embedding's models is higher past the length, on the same targets.

    Args:
        position: an embedding; with a plus at its end, of it with log-n temperature only.
    """
    plain = not position.endswith("+")
    changes = [rises(f"text-128/{position}", f, by, same_targets=True) for f in FACTORS[1:]]

    def change(name: str, found: dict[str, Any], seed: int) -> None:
        if plain != ("log-temperature" in name):
            for each in changes:
                each(name, found, seed)

    return change


SHARPER = [rises_at_all("rotary", 0.1), rises_at_all("none", 0.1)]


@pytest.mark.parametrize(
    ("name", "changes", "word"),
    [
        ("sinusoidal-breaks", [rises("text-128/sinus", 2, 0.5)], HOLDS),
        ("sinusoidal-breaks", [rises("text-128/sinus", 2, 0.1)], DIRECTION),
        ("sinusoidal-breaks", [], FAILS),
        ("sinusoidal-generalises", [], HOLDS),
        ("sinusoidal-generalises", [rises("text-128/sinus", 2, 0.5, same_targets=True)], FAILS),
        ("rotary-breaks-later", [], FAILS),
        (
            "rotary-breaks-later",
            [rises("text-128/rotary", 5, 0.3), rises("text-128/sinus", 5, 0.9)],
            HOLDS,
        ),
        ("rotary-breaks-later", [rises("text-128/rotary", 5, 0.3)], FAILS),
        ("t5-lasts", [rises("text-128/t5", 2, -0.05)], HOLDS),
        ("t5-lasts", [rises("text-128/t5", 2, 0.05)], FAILS),
        ("alibi-survives", [rises("text-128/alibi", 8, -0.05)], HOLDS),
        (
            "alibi-survives",
            [rises("text-128/alibi", 8, -0.05), rises("text-128/al", 8, 0.2, same_targets=True)],
            FAILS,
        ),
        ("biases-agree", [rises("text-128/kerple", 2, -0.05)], HOLDS),
        ("biases-agree", [worse("text-128/fire", 0.1)], FAILS),
        ("learned-ends", [], HOLDS),
        ("learned-ends", [sets("resampled", "rise", -0.1)], FAILS),
        ("rotary-suits-long", [], HOLDS),
        (
            "rotary-suits-long",
            [lambda n, found, seed: found["scalings"]["2"].update(plain=0.2 + SPREAD[seed])],
            FAILS,
        ),
        ("input-is-a-sum", [], HOLDS),
        ("input-is-a-sum", [sets("removed", "positions", 0.05)], DIRECTION),
        ("input-is-a-sum", [sets("removed", "remainder", 1.0)], FAILS),
        ("none-learns-slower", [worse("text-128/none", 0.2)], HOLDS),
        ("none-learns-slower", [worse("text-128/none", -0.2)], FAILS),
        ("none-comes-close", [worse("text-128/none", 0.05), worse("masked-128/none", 1)], HOLDS),
        ("none-comes-close", [worse("text-128/none", 0.3), worse("masked-128/none", 1)], FAILS),
        ("none-comes-close", [worse("masked-128/none", 0.2)], DIRECTION),
        ("none-knows-position", [], HOLDS),
        (
            "none-knows-position",
            [lambda n, found, seed: found["position-probe"][1].update(network=0.9 + SPREAD[seed])],
            FAILS,
        ),
        ("alibi-no-better-short", [], HOLDS),
        ("alibi-no-better-short", [worse("text-64-rate0.5/sinus", 0.2)], FAILS),
        ("order-matters-near", [], HOLDS),
        ("order-matters-near", [sets("near-far", "far", 0.3)], FAILS),
        ("order-matters-near", [sets("near-far", "far", 0.02)], UNDECIDED),
        ("partial-rotary-no-gain", [worse("text-128/rotary_fraction=0.2", 0.05)], HOLDS),
        ("partial-rotary-no-gain", [worse("text-128/rotary_fraction=0.2", -0.1)], FAILS),
        ("partial-rotary-no-gain", [worse("text-128/rotary_fraction=0.5", -0.1)], FAILS),
        ("log-temperature-past-the-length", SHARPER, HOLDS),
        ("log-temperature-past-the-length", [*SHARPER, rises_at_all("rotary", 0.1)], HOLDS),
        ("log-temperature-past-the-length", [*SHARPER, rises_at_all("rotary+", 0.2)], FAILS),
        ("log-temperature-past-the-length", [*SHARPER, rises_at_all("none", -0.2)], FAILS),
        ("log-temperature-past-the-length", [], FAILS),
        (
            "log-temperature-past-the-length",
            [rises_at_all("rotary", 0.1), rises_at_all("none", 0.01)],
            UNDECIDED,
        ),
    ],
)
def test_each_criterion_can_hold_and_can_fail(name: str, changes: list[Change], word: str) -> None:
    assert worst(name, *changes) == word


def gains(by: float, reach: float = 0.004) -> Change:
    """What the last doubling of the context is worth to every model."""

    def change(name: str, found: dict[str, Any], seed: int) -> None:
        found["last-doubling"] = over_documents(by + SPREAD[seed], reach)

    return change


def test_log_temperature_is_not_tested_where_far_context_is_of_no_use() -> None:
    name = "log-temperature-past-the-length"
    found = verdict(name, *SHARPER, gains(0.0))
    assert found.word == NOT_TESTABLE
    blind = {"none+log-temperature": gains(0.0)}

    def one(work: str, found: dict[str, Any], seed: int) -> None:
        for position, change in blind.items():
            if position in work:
                change(work, found, seed)

    # A model without positions that uses no far context leaves rotary's criteria testable.
    assert verdict(name, *SHARPER, one).by_criterion == (HOLDS,) * 3 + (NOT_TESTABLE,) * 3


SURVIVE = ["sinusoidal-generalises", "rotary-suits-long", "t5-lasts", "alibi-survives"]


@pytest.mark.parametrize("name", [*SURVIVE, "biases-agree"])
@pytest.mark.parametrize("without", [gains(0.0), gains(0.012), gains(0.03, reach=0.1)])
def test_what_uses_no_far_context_survives_nothing(name: str, without: Change) -> None:
    """Nor does a gain count that seeds or documents leave uncertain."""
    lower = rises("text-128", 2, -0.05), rises("text-128", 8, -0.05)
    assert verdict(name, *lower).word == HOLDS
    found = verdict(name, *lower, without)
    assert found.word == NOT_TESTABLE
    assert found.reasons == ("needs more training, or text with stronger long-range dependencies",)


def test_what_breaks_has_broken_whatever_context_is_worth() -> None:
    worse_at_two = rises("text-128/sinus", 2, 0.5), rises("text-128", 2, 0.5, same_targets=True)
    assert verdict("sinusoidal-breaks", *worse_at_two, gains(0.0)).word == HOLDS
    broken = verdict("sinusoidal-generalises", *worse_at_two, gains(0.0))
    assert broken.word == FAILS and broken.reasons[0].startswith("cause: the vectors of positions")
    # But that T5's bias does not improve is no failure where there is nothing to improve by.
    assert verdict("t5-lasts", rises("text-128/t5", 2, 0.05), gains(0.0)).word == NOT_TESTABLE


def test_masked_models_that_learn_words_alone_refute_nothing() -> None:
    def no_more_than_words(name: str, found: dict[str, Any], seed: int) -> None:
        found["word-frequencies"] = found["validation_loss"] + 0.5 + SPREAD[2 - seed]

    both = worse("masked-128/none", -0.012), no_more_than_words
    found = verdict("none-comes-close", *both)
    assert (found.word, found.by_criterion) == (NOT_TESTABLE, (HOLDS, NOT_TESTABLE))
    assert "uses order, not only word frequencies" in found.reasons[0]
    # The causal half can still refute the claim.
    assert verdict("none-comes-close", *both, worse("text-128/none", 0.3)).by_criterion[0] == FAILS


def test_order_far_away_is_not_tried_on_what_reads_nothing_there() -> None:
    def blind(name: str, found: dict[str, Any], seed: int) -> None:
        found["near-far"]["cut"] = over_documents(0.005 + SPREAD[seed], reach=0.018)

    assert verdict("order-matters-near").word == HOLDS
    found = verdict("order-matters-near", blind)
    assert found.by_criterion == (NOT_TESTABLE, HOLDS)
    assert found.intervals[CUT].mean == pytest.approx(0.005)


def test_a_probe_that_finds_nothing_where_nothing_is_used_refutes_nothing() -> None:
    def unread(name: str, found: dict[str, Any], seed: int) -> None:
        found["position-probe"][1].update(network=0.9 + SPREAD[seed])

    assert verdict("none-knows-position", unread, gains(0.0)).word == NOT_TESTABLE
    assert verdict("none-knows-position", unread).word == FAILS
    assert verdict("none-knows-position", gains(0.0)).word == HOLDS


def test_a_failed_run_leaves_the_other_seeds() -> None:
    claim = CLAIMS["sinusoidal-breaks"]
    works = claim.works(PLAN)
    results = {work.name: planted(0) for work in works[:2]}
    assert len(claim.read(PLAN, results).quantities["rise at 2L"]) == 2


def test_tokens_needed_are_read_in_log_tokens() -> None:
    assert tokens_needed(4.6, 4.4, 4.6) == pytest.approx(1)
    assert tokens_needed(4.6, 4.4, 4.5) == pytest.approx(2**0.5)
    assert tokens_needed(4.6, 4.4, 4.3) == pytest.approx(2**1.5)
    assert tokens_needed(4.6, 4.6, 4.3) == float("inf")
    assert tokens_needed(4.0, 3.99, 3.85) == float("inf")  # fifteen doublings


def test_a_loss_that_more_tokens_do_not_lower_is_the_strongest_evidence() -> None:
    higher = worse("text-128-x2/none", 0.5)
    found = verdict("none-learns-slower", worse("text-128/none", 0.2), higher)
    assert found.word == HOLDS
    assert all(seed in found.measurements.quantities[STILL_ABOVE] for seed in range(PLAN.seeds))
    assert "an unknown number of tokens" in found.measurements.notes[0]


@pytest.mark.parametrize("usual", [4.45, 4.6])
@pytest.mark.parametrize("more", [4.3, 4.4, 4.55, 4.7])
@pytest.mark.parametrize("target", [4.35, 4.5])
def test_the_loss_after_some_tokens_says_whether_as_many_are_needed(
    usual: float, more: float, target: float
) -> None:
    if usual > target:
        needed = tokens_needed(usual, more, target)
        assert (loss_after(1.1, usual, more) > target) == (needed > 1.1)


def test_rates_are_multiples_of_both_and_make_other_jobs() -> None:
    usual, twice = text_model(PLAN, "rotary", 0), text_model(PLAN, "rotary", 0, rate=2.0)
    for name in ("learning_rate", "matrix_learning_rate"):
        assert twice.job["training"][name] == 2 * usual.job["training"][name]
    assert usual.name != twice.name and twice.job["measure"] is None
    assert text_model(PLAN, "rotary", 0, rate=1.0) == usual


@pytest.mark.slow
def test_a_text_model_answers_what_is_asked(tmp_path: Any) -> None:
    plan = ClaimPlan(seeds=1, steps=4)
    machine = {"device": "cpu", "threads": 1}
    for position in ("none", "learned", "rotary"):
        work = text_model(plan, position, 0)
        job = {**work.job, "folder": str(tmp_path / position), "machine": machine}
        found = train_text_model(job, lambda *told: None)
        assert found["validation_loss"] > 0
        assert all(found[asked] for asked in ASKED[position])
