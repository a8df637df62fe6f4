"""The verdict: sentences that the numbers allow, and no other."""

from __future__ import annotations

import copy
import random
import re
from dataclasses import replace
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from wordorder.experiments.certainty import seeds_needed
from wordorder.experiments.comparison import Comparison
from wordorder.experiments.summary import summarise
from wordorder.experiments.verdict import ComparisonVerdict, verdict
from wordorder.experiments.wording import p_value, with_interval
from wordorder.numerals import counted, signed

MadeUp = tuple[Comparison, list[dict[str, Any]]]


def everything(said: ComparisonVerdict) -> str:
    found = [line for f in said.findings for line in (f.heading, *f.lines)]
    return "\n".join([said.headline, *found, said.scope])


def lines_on(said: ComparisonVerdict, heading: str) -> tuple[str, ...]:
    return next((f.lines for f in said.findings if f.heading.startswith(heading)), ())


def test_the_made_up_comparison_in_words(made_up: MadeUp) -> None:
    said = verdict(summarise(*made_up))
    assert said.headline == (
        "Better than rotary: alibi. Worse than rotary: learned, sinusoidal and none. "
        "No significant difference from rotary: t5 0.000 (-0.023 to +0.024)."
    )
    loss = lines_on(said, "Validation loss")
    assert loss[0] == (
        "alibi: -0.044 nats (95% interval -0.054 to -0.033; p = 0.0084 after Holm over 5; "
        "3 seeds): better."
    )
    assert loss[1] == (
        "t5: 0.000 nats (95% interval -0.023 to +0.024; p = 0.85 after Holm over 5; 2 seeds): "
        "no difference; up to 0.024 nats is not excluded."
    )
    assert said.certainty[0].startswith(
        "With 2 to 3 seeds a true difference of 0.004 (learned) to 0.030 (t5) nats or more is "
        "detected with a power of 80%, tested alone; at Holm's first step of 5, 0.008"
    )
    assert "these held-out documents" in said.certainty[1]
    assert "at most 5%, by Holm's correction over 5." in said.certainty[2]
    assert "exploratory" in said.certainty[2]
    assert lines_on(said, "Runs") == (
        "t5 with seed 2 failed: the loss is not a number at step 412.",
    )
    lengths = lines_on(said, "Context up to 16x the trained length (1,024 tokens)")
    words = ["Uses it", "Survives", "Breaks", "Cannot"]
    assert [line.partition(":")[0] for line in lengths] == words
    assert lengths[3] == "Cannot: learned from 2x on."
    order = lines_on(said, "Loss with the order")
    assert (
        order[4] == "Shifted: unchanged for none, sinusoidal, rotary, alibi and t5; learned cannot."
    )
    costs = lines_on(said, "Costs")
    assert costs[0].endswith("none 0.97x, sinusoidal 0.98x, learned 1.00x, alibi 0.99x, t5 1.18x.")
    assert costs[2] == "Parameters added: learned 8,192, t5 768; the others none."


def test_advice_and_power_allow_for_the_looks(made_up: MadeUp) -> None:
    """A third look multiplies p by 9, and the seeds that are advised cost a fourth, 16."""
    facts, records = made_up
    looked = replace(facts, looks=[1, 2])
    summary = summarise(looked, records)
    alibi = next(r.against_baseline for r in summary.results if r.position == "alibi")
    assert alibi is not None and (alibi.compared, alibi.looks) == (5, 3)
    assert (alibi.tests, alibi.tests_after_another_look) == (45, 80)
    said = verdict(summary)
    assert "at Holm's first step of 5 and after 3 looks at the results, " in said.certainty[0]
    assert " after Holm over 5, times 9 for 3 looks; 3 seeds)" in lines_on(said, "Validation")[0]
    spread = alibi.difference.spread
    assert spread is not None
    assert seeds_needed(0.01, spread, 80) != seeds_needed(0.01, spread, 5)


def test_leaving_an_embedding_out_makes_no_other_more_significant(made_up: MadeUp) -> None:
    facts, records = made_up
    fewer = replace(facts, positions=["none", "rotary", "alibi"])
    summary, whole = summarise(fewer, records), summarise(facts, records)
    changes = [
        next(r.against_baseline for r in each.results if r.position == "none")
        for each in (summary, whole)
    ]
    assert changes[0] and changes[1] and changes[0].compared == changes[1].compared == 5
    assert changes[0].adjusted_p and changes[1].adjusted_p
    assert changes[0].adjusted_p >= changes[1].adjusted_p
    assert summary.left_out == ("sinusoidal", "learned", "t5")
    told = " ".join(verdict(summary).certainty)
    assert "The correction counts sinusoidal, learned and t5 too: they have runs here" in told


def test_intervals_on_longer_context_say_what_they_are_over(made_up: MadeUp) -> None:
    """Losses by ten documents, and the same targets all in one."""
    facts, records = made_up
    for number, line in enumerate(records):
        if "failed" not in line:
            losses = [line["validation_loss"] + 0.01 * (i % 3) * (number % 2) for i in range(10)]
            line["by_document"] = {"losses": losses, "weights": [100] * 10}
    told = " ".join(verdict(summarise(facts, records)).certainty)
    assert "those on longer context and order are over seeds only" in told


def test_an_undecided_length_says_what_seeds_would_show(made_up: MadeUp) -> None:
    facts, records = made_up
    for line in records:
        if line["position"] == "none" and "failed" not in line:
            lengths = line["same_targets"]["lengths"]
            lengths[4]["loss"] = lengths[0]["loss"] + (0.0, 0.05, 0.02)[line["seed"]]
    (undecided,) = [
        x for x in lines_on(verdict(summarise(facts, records)), "Context") if "Undecided" in x
    ]
    assert "on which side of +0.03 it is" in undecided


def test_a_probe_that_moves_one_names_it_once(made_up: MadeUp) -> None:
    facts, records = made_up
    for line in records:
        if line["position"] != "alibi":
            line["order"] = []
    order = lines_on(verdict(summarise(facts, records)), "Loss with the order")
    assert order[2] == "Shuffled: +0.513 (alibi)."


def test_breaking_is_dated_from_the_first_length_with_its_own_figure(made_up: MadeUp) -> None:
    """Broken at 2x, well at 4x by chance, broken from 8x on: the first is 2x, and 4x is named."""
    facts, records = made_up
    for line in records:
        if line["position"] == "none":
            lengths = line["same_targets"]["lengths"]
            lengths[2]["loss"] = lengths[0]["loss"] + 0.001
    summary = summarise(facts, records)
    (breaks,) = [x for x in lines_on(verdict(summary), "Context") if x.startswith("Breaks")]
    at = next(r for r in summary.results if r.position == "none").same_targets
    two, last = (with_interval(at[i].change) for i in (1, 4))
    assert f"none first at 2x, {two} there and {last} at 16x (survives at 4x +0.001)" in breaks
    assert "rotary from 2x on, " in breaks


@hypothesis.settings(
    deadline=None,
    max_examples=60,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],  # it is copied
)
@hypothesis.given(data=st.data())
def test_every_number_of_a_sentence_is_the_tables_at_the_length_it_names(
    made_up: MadeUp, data: st.DataObject
) -> None:
    """Random tables: "+0.876 at 16x" is what the table has at 16x, and "from 8x on" is its word."""
    summary = summarise(*random_table(made_up, data))
    table = {at.factor: at for at in summary.results[0].same_targets}
    changes = {f: at.change for f, at in table.items() if at.change}
    text = " ".join(x for x in lines_on(verdict(summary), "Context") if "none " in x)
    mine = text.partition("none ")[2].partition("; rotary")[0]
    named = re.findall(r"([+-]?\d\.\d{3}) \(([+-]?[\d.]+) to ([+-]?[\d.]+)\) at (\d+)x", mine)
    assert named, text
    for mean, low, high, factor in named:
        change = changes[float(factor)]
        assert (mean, low, high) == (signed(change.mean), signed(change.low), signed(change.high))
    begins = re.search(r"(from|first at) (\d+)x(?: on)?, ([+-]?[\d.]+) \(", mine)
    if begins:
        factor = float(begins[2])
        assert begins[3] == signed(changes[factor].mean)
        broken = [f for f in sorted(changes) if table[f].word == "breaks"]
        assert factor == broken[0]
        longer = [f for f in sorted(changes) if f >= factor]
        assert (begins[1] == "from") == (broken == longer)
    for word, list_of in re.findall(r"(uses it|survives|undecided|breaks) at ([^;)]*)", mine):
        for factor, mean in re.findall(r"(\d+)x ([+-]?\d\.\d{3})(?! \()", list_of):
            assert table[float(factor)].word == word
            assert mean == signed(changes[float(factor)].mean)


def random_table(made_up: MadeUp, data: st.DataObject) -> MadeUp:
    """Two embeddings, three seeds; one changes by any rise at 2, 4, 8 and 16 times."""
    rises = st.sampled_from([-0.2, -0.02, 0.0, 0.025, 0.035, 0.1, 0.9])
    drawn = data.draw(st.lists(rises, min_size=4, max_size=4))
    spread = data.draw(st.sampled_from([0.001, 0.004, 0.02]))
    noise = random.Random(data.draw(st.integers(0, 99)))
    facts, records = copy.deepcopy(made_up)
    kept = [line for line in records if line["position"] in ("none", "rotary")]
    for line in kept:
        scale = float(line["position"] == "none")
        line["same_targets"]["lengths"] = [
            {"factor": float(f), "length": 64 * f, "loss": 3 + scale * r + noise.gauss(0, spread)}
            for f, r in zip((1, 2, 4, 8, 16), (0.0, *drawn), strict=True)
        ]
    return replace(facts, positions=["none", "rotary"]), kept


def test_costs_of_many_are_a_range(made_up: MadeUp) -> None:
    facts, _ = made_up
    more = {f"rotary:base={n}": {**facts.costs["none"], "step_seconds": 0.06} for n in range(3)}
    facts = replace(facts, costs=facts.costs | more, positions=[*facts.positions, *more])
    costs = lines_on(verdict(summarise(facts, [])), "Costs")
    assert costs[0].endswith("(41 ms): 0.97x (none) to 1.46x (rotary:base=2).")


def test_the_scope_is_named(made_up: MadeUp) -> None:
    scope = verdict(summarise(*made_up)).scope
    for part in (
        "0.83 M parameters",
        "length 64 tokens",
        "351,121 training",
        "2,048,000 tokens per",
    ):
        assert part in scope


@pytest.mark.parametrize("spread", [0.0, 0.02, 0.2])
def test_no_claim_without_its_evidence(made_up: MadeUp, spread: float) -> None:
    """Noise from seed to seed takes the claims away, one after another."""
    facts, records = made_up
    for number, line in enumerate(records):
        if "failed" not in line:
            line["validation_loss"] += random.Random(number).gauss(0, spread)
    summary = summarise(facts, records)
    said = verdict(summary)
    for result in summary.results:
        change = result.against_baseline
        if change is not None and not change.shown:
            loss = lines_on(said, "Validation loss")
            (mine,) = [line for line in loss if line.startswith(f"{result.position}: ")]
            assert "not significant" in mine or "no difference;" in mine
            assert not re.search(r"(?<!likely )(better|worse)", mine)
            assert with_interval(change) in said.headline
    if spread == 0.2:
        assert "Better than" not in said.headline and "Worse than" not in said.headline


def test_an_interval_that_holm_overrules_says_so(made_up: MadeUp) -> None:
    """Two seeds and four others: p of 0.024 is an interval beside zero, and not enough."""
    facts, records = made_up
    kept = [r for r in records if r["seed"] < 2]
    for line in kept:
        if line["position"] == "alibi":
            rotary = next(
                r for r in kept if r["position"] == "rotary" and r["seed"] == line["seed"]
            )
            line["validation_loss"] = rotary["validation_loss"] - (0.039, 0.042)[line["seed"]]
    lines = lines_on(verdict(summarise(facts, kept)), "Validation loss")
    (said,) = [line for line in lines if line.startswith("alibi: ")]
    assert said == (
        "alibi: -0.040 nats (95% interval -0.060 to -0.021; p = 0.071 after Holm over 5; 2 seeds): "
        "likely better, not significant; about 3 seeds (1 more) would show a difference of this "
        "size."
    )


def test_a_large_difference_that_is_not_shown_is_not_hidden(made_up: MadeUp) -> None:
    """Worse by 4.5 nats with p just above 0.05: the size, the side and the seeds are given."""
    facts, records = made_up
    moved = {("sinusoidal", s): x for s, x in enumerate((3.2, 4.3, 5.9))}
    for line in records:
        line["validation_loss"] = 3.0 + moved.get((line["position"], line["seed"]), 0.0)
    said = verdict(summarise(facts, records))
    assert (
        "sinusoidal +4.467 (+1.094 to +7.839)" in said.headline and "likely worse" in said.headline
    )
    (line,) = [x for x in lines_on(said, "Validation loss") if x.startswith("sinusoidal")]
    assert re.search(
        r"likely worse, not significant; about \d+ seeds \(\d+ more\) would show", line
    )
    assert "p = 0.1" in line


def test_seeds_added_after_a_look_are_said(made_up: MadeUp) -> None:
    facts, records = made_up
    assert "looked at" not in " ".join(verdict(summarise(facts, records)).certainty)
    again = verdict(summarise(replace(facts, looks=[2, 3]), records))
    assert "Results with 2 seeds were available before these: p-values are multiplied by 4" in (
        " ".join(again.certainty)
    )
    once_fewer = verdict(summarise(replace(facts, looks=[3, 2]), records))
    assert "available before" not in " ".join(once_fewer.certainty)
    assert once_fewer.headline == verdict(summarise(facts, records)).headline


def test_one_seed_has_no_interval(made_up: MadeUp) -> None:
    facts, records = made_up
    said = verdict(summarise(replace(facts, seeds=1), records[:6]))
    assert said.headline == "One seed: no intervals, so no difference is claimed."
    assert all("one seed: no interval" in line for line in lines_on(said, "Validation loss"))
    text = everything(said)
    assert not re.search(r"better|worse|Breaks|Survives|Uses|shown", text)
    assert "1 seed)" in said.scope


def test_nothing_trained_says_so_and_what_it_costs(made_up: MadeUp) -> None:
    facts, _ = made_up
    said = verdict(summarise(replace(facts, seeds=0), []))
    assert said.headline == "Nothing was trained: there are no losses to compare."
    assert [f.heading for f in said.findings] == ["Costs"]


def test_interrupted_says_what_is_missing(made_up: MadeUp) -> None:
    facts, records = made_up
    said = verdict(summarise(facts, records[:11]))
    assert lines_on(said, "Runs") == (
        "Runs not finished yet: 1 of none, 1 of sinusoidal, 1 of learned, 1 of rotary, 1 of alibi "
        "and "
        "2 of t5. The same command resumes them.",
    )


def test_no_baseline_is_no_comparison(made_up: MadeUp) -> None:
    facts, records = made_up
    said = verdict(summarise(facts, [r for r in records if r["position"] != "rotary"]))
    assert said.headline.startswith("No embedding shares a finished seed with the baseline, rotary")


@pytest.mark.parametrize(
    ("value", "text"), [(0.0414, "+0.041"), (-0.0004, "0.000"), (0.0, "0.000"), (-1.2, "-1.200")]
)
def test_signs(value: float, text: str) -> None:
    assert signed(value) == text


@hypothesis.given(st.floats(0, 1) | st.floats(0.0495, 0.0505))
def test_a_printed_p_is_on_its_own_side_of_the_threshold(p: float) -> None:
    text = p_value(p)
    if text.startswith("<"):
        assert p < float(text[2:]) < 0.05
    else:
        assert (float(text) < 0.05) == (p < 0.05) and (float(text) > 0.05) == (p > 0.05)


def test_p_values() -> None:
    found = [p_value(p) for p in (0.0512, 0.04996, 0.05001, 0.85, 0.00003, 1.0)]
    assert found == ["0.051", "0.04996", "0.05001", "0.85", "< 0.0001", "1"]


def test_plurals() -> None:
    assert [counted(n, "seed") for n in (0, 1, 2, 1024)] == [
        "no seeds",
        "1 seed",
        "2 seeds",
        "1,024 seeds",
    ]
