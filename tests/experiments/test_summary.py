"""The summary of a comparison: pairing, families, words, and what may not be said."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from wordorder.experiments.comparison import Comparison
from wordorder.experiments.results import Summary, word_for
from wordorder.experiments.significance import Change, judge
from wordorder.experiments.statistics import Difference
from wordorder.experiments.summary import summarise

MadeUp = tuple[Comparison, list[dict[str, Any]]]


def of(summary: Summary, position: str) -> Any:
    return next(r for r in summary.results if r.position == position)


def change(mean: float, low: float | None, high: float | None, shown: bool = False) -> Change:
    return Change(Difference(mean, low, high, None, None, 3, (mean,) * 3), (0, 1, 2), None, shown)


def test_a_planted_difference_is_shown_and_a_planted_equality_is_not(made_up: MadeUp) -> None:
    summary = summarise(*made_up)
    shown = {r.position: r.against_baseline and r.against_baseline.shown for r in summary.results}
    assert shown == {
        "none": True,
        "sinusoidal": True,
        "learned": True,
        "rotary": None,
        "alibi": True,
        "t5": False,
    }
    assert of(summary, "alibi").against_baseline.mean == pytest.approx(-0.04, abs=0.01)


def test_only_seeds_that_both_have_are_paired(made_up: MadeUp) -> None:
    facts, records = made_up
    summary = summarise(facts, records)
    t5 = of(summary, "t5")
    assert t5.seeds == t5.against_baseline.seeds == (0, 1)
    loss = {(r["position"], r["seed"]): r.get("validation_loss") for r in records}
    expected = [loss["t5", s] - loss["rotary", s] for s in (0, 1)]
    assert t5.against_baseline.difference.values == pytest.approx(expected)
    assert t5.failed == ((2, "the loss is not a number at step 412"),)
    assert t5.missing == 0


def test_ranks_are_those_of_pairs_and_not_of_means(made_up: MadeUp) -> None:
    """A seed that was easy for the others must not put one that lacks it behind them."""
    facts, records = made_up
    for line in records:
        if line["seed"] == 2 and "failed" not in line:
            line["validation_loss"] -= 0.5
    summary = summarise(facts, records)
    assert of(summary, "t5").loss_nats > of(summary, "none").loss_nats
    assert [r.position for r in summary.ranked][-3:] == ["learned", "sinusoidal", "none"]
    assert of(summary, "alibi").rank == 1


def test_of_two_lines_for_one_run_the_last_counts(made_up: MadeUp) -> None:
    facts, records = made_up
    again = {**records[5], "seed": 2, "validation_loss": 3.3}
    summary = summarise(facts, [*records, again])
    assert of(summary, "t5").losses[-1] == 3.3
    assert not of(summary, "t5").failed


def test_what_is_not_there_yet_is_counted(made_up: MadeUp) -> None:
    facts, records = made_up
    summary = summarise(facts, records[:8])
    assert {r.position: r.missing for r in summary.results} == {
        "none": 1,
        "sinusoidal": 1,
        "learned": 2,
        "rotary": 2,
        "alibi": 2,
        "t5": 2,
    }


def test_a_loss_that_is_no_number_is_a_failed_run(made_up: MadeUp) -> None:
    facts, records = made_up
    records[4]["validation_loss"] = math.nan
    alibi = of(summarise(facts, records), "alibi")
    assert alibi.seeds == (1, 2)
    assert alibi.failed == ((0, "its validation loss is NaN or infinite"),)


def test_holm_is_over_all_that_are_compared() -> None:
    """One difference with p = 0.03 is shown alone, and not among five."""
    base = dict.fromkeys(range(4), 0.0)
    one = {0: 0.1, 1: 0.3, 2: 0.35, 3: 0.15}
    noise = {s: 0.1 * (-1) ** s for s in range(4)}
    alone = judge({"one": (one, base)})
    among = judge({"one": (one, base), **{f"noise{i}": (noise, base) for i in range(4)}})
    assert 0.01 < (alone["one"].difference.p or 0) < 0.05
    assert alone["one"].shown
    assert among["one"].low == alone["one"].low
    assert among["one"].low > 0 and not among["one"].shown


def test_a_difference_that_prints_as_nothing_is_not_called_one() -> None:
    """Rounding that is alike with every seed: however sure, it is no finding."""
    found = judge({"rotary": ({0: 1e-6, 1: 1.1e-6, 2: 0.9e-6}, dict.fromkeys(range(3), 0.0))})
    assert (found["rotary"].difference.p or 1) < 0.01
    assert not found["rotary"].shown


def test_what_is_exploratory_is_not_corrected_and_says_so() -> None:
    base = dict.fromkeys(range(4), 0.0)
    one = {0: 0.1, 1: 0.3, 2: 0.35, 3: 0.15}
    noise = {s: 0.1 * (-1) ** s for s in range(4)}
    family = {"one": (one, base), **{f"noise{i}": (noise, base) for i in range(4)}}
    found = judge(family, exploratory=True)["one"]
    assert found.adjusted_p == found.difference.p and found.compared == 1 and found.shown
    assert judge(family)["one"].compared == 5 and judge(family)["one"].likely


def test_looks_at_the_results_make_p_larger() -> None:
    base, one = dict.fromkeys(range(4), 0.0), {0: 0.1, 1: 0.3, 2: 0.35, 3: 0.15}
    first, second = (judge({"one": (one, base)}, looks=looks)["one"] for looks in (1, 2))
    assert second.adjusted_p == pytest.approx(4 * first.adjusted_p)
    assert first.shown and not second.shown


def test_documents_are_a_sample_too(made_up: MadeUp) -> None:
    """Documents that differ widen the interval; documents alike leave that of the seeds."""
    facts, records = made_up
    plain = of(summarise(facts, records), "alibi").against_baseline

    def with_documents(spread: float) -> Any:
        for line in records:
            if "failed" not in line:
                moved = spread if line["position"] == "alibi" else 0.0
                losses = [line["validation_loss"] + moved * (-1) ** d for d in range(12)]
                line["by_document"] = {"losses": losses, "weights": [100] * 12}
        return of(summarise(facts, records), "alibi").against_baseline

    alike, apart = with_documents(0.0), with_documents(0.12)
    assert alike.difference.over_documents and not plain.difference.over_documents
    assert (alike.low, alike.high) == pytest.approx((plain.low, plain.high))
    assert apart.mean == plain.mean and apart.low < plain.low and apart.high > plain.high
    assert plain.shown and not apart.shown


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (change(-0.05, -0.06, -0.04), "uses it"),
        (change(-0.02, -0.03, -0.009), "survives"),  # it may gain less than 0.01
        (change(-0.05, -0.12, 0.02), "survives"),
        (change(-0.01, -0.012, -0.008, shown=True), "survives"),
        (change(0.01, 0.008, 0.012, shown=True), "survives"),
        (change(0.0, -0.01, 0.029), "survives"),
        (change(0.0, -0.01, 0.03), "undecided"),
        (change(0.02, -0.01, 0.05), "undecided"),
        (change(0.9, -0.1, 1.9), "undecided"),
        (change(0.04, 0.01, 0.07, shown=True), "undecided"),  # it rises, not by more than 0.03
        (change(0.9, 0.03, 1.7), "undecided"),
        (change(0.9, 0.1, 1.7), "breaks"),
        (change(0.9, 0.8, 1.0, shown=True), "breaks"),
        (change(0.9, None, None), ""),
    ],
)
def test_words_follow_from_the_interval(found: Change, word: str) -> None:
    assert word_for(found) == word


def test_lengths_have_words_on_the_same_targets_and_none_on_whole_windows(made_up: MadeUp) -> None:
    summary = summarise(*made_up)
    words = {r.position: [at.word for at in r.same_targets] for r in summary.results}
    assert words["rotary"] == ["", "breaks", "breaks", "breaks", "breaks"]
    assert words["alibi"] == ["", "uses it", "uses it", "uses it", "uses it"]
    assert words["learned"] == ["", *["cannot"] * 4]
    assert words["t5"][1] == "uses it"
    for result in summary.results:
        assert {at.word for at in result.whole_windows} <= {"", "cannot"}
    assert (summary.targets, summary.target_documents) == (4096, 13)


def test_a_change_with_length_is_against_the_same_model(made_up: MadeUp) -> None:
    facts, records = made_up
    at = of(summarise(facts, records), "rotary").same_targets[2]
    mine = [r["same_targets"]["lengths"] for r in records if r["position"] == "rotary"]
    expected = [lengths[2]["loss"] - lengths[0]["loss"] for lengths in mine]
    assert at.change.difference.values == pytest.approx(expected)


def test_a_length_that_gives_no_number_cannot(made_up: MadeUp) -> None:
    facts, records = made_up
    records[3]["same_targets"]["lengths"][4]["loss"] = math.inf
    at = of(summarise(facts, records), "rotary").same_targets[4]
    assert (at.word, at.losses, at.change) == ("cannot", (), None)
    assert at.cannot == "the loss is NaN or infinite"


def test_order_and_costs(made_up: MadeUp) -> None:
    summary = summarise(*made_up)
    order = {d.how: d for d in of(summary, "learned").order}
    assert order["swapped"].rise.mean == pytest.approx(0.1, abs=0.03)
    assert order["shifted"].rise is None and order["shifted"].cannot.startswith("position 64")
    cost = of(summary, "t5").cost
    assert cost.step_ratio == pytest.approx(1.18)
    assert cost.added == 768
    assert cost.more_bytes == pytest.approx(11.5 * (1 << 20))  # of seeds 0 and 1 only


def test_one_seed_has_numbers_and_claims_nothing(made_up: MadeUp) -> None:
    facts, records = made_up
    summary = summarise(replace(facts, seeds=1), records[:6])
    for result in summary.results:
        found = [result.against_baseline, *(at.change for at in result.same_targets)]
        found += [disturbed.rise for disturbed in result.order]
        assert not any(c.shown or c.low is not None for c in found if c)
        assert {at.word for at in result.same_targets} <= {"", "cannot"}
    assert of(summary, "alibi").against_baseline.mean < 0


def test_nothing_trained_and_no_baseline_are_no_errors(made_up: MadeUp) -> None:
    facts, records = made_up
    empty = summarise(replace(facts, seeds=0), [])
    assert all(r.rank is None and not r.losses for r in empty.results)
    assert of(empty, "t5").cost.step_ratio == pytest.approx(1.18)
    without = summarise(facts, [r for r in records if r["position"] != "rotary"])
    assert all(r.against_baseline is None for r in without.results)
    assert without.ranked[0].position == "alibi"


def test_records_of_short_runs_may_lack_measures(made_up: MadeUp) -> None:
    facts, records = made_up
    for line in records:
        line |= {"same_targets": None, "whole_windows": [], "order": [], "bits_per_byte": None}
    summary = summarise(facts, records)
    assert of(summary, "alibi").mean_bits_per_byte is None
    assert summary.targets is None


def test_the_summary_is_json(made_up: MadeUp) -> None:
    summary = summarise(*made_up)
    assert json.loads(json.dumps(summary.to_dict()))["results"][4]["position"] == "alibi"
