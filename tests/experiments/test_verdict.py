"""The verdict: sentences that the numbers allow, and no other."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

from wordorder.experiments.summary import summarise
from wordorder.experiments.verdict import Verdict, verdict
from wordorder.experiments.wording import signed

MadeUp = tuple[dict[str, Any], list[dict[str, Any]]]


def everything(said: Verdict) -> str:
    found = [line for f in said.findings for line in (f.heading, *f.lines)]
    return "\n".join([said.headline, *found, said.scope])


def lines_on(said: Verdict, heading: str) -> tuple[str, ...]:
    return next((f.lines for f in said.findings if f.heading.startswith(heading)), ())


def test_the_made_up_comparison_in_words(made_up: MadeUp) -> None:
    said = verdict(summarise(*made_up))
    assert said.headline == (
        "Better than rotary: alibi. Worse than rotary: learned, sinusoidal and none. "
        "No difference to rotary is shown for t5."
    )
    loss = lines_on(said, "Validation loss")
    assert loss[0] == (
        "alibi does better than rotary: its loss is 0.044 nats lower "
        "(95% interval 0.033 to 0.054, 3 seeds)."
    )
    assert loss[1] == "Between t5 and rotary no difference is shown: 0.000 (-0.023 to +0.024)."
    assert lines_on(said, "Runs") == (
        "t5 with seed 2 failed: the loss is not a number at step 412.",
    )
    lengths = lines_on(said, "Context 16x as long as trained, 1,024 tokens")
    assert [line.partition(":")[0] for line in lengths] == ["Survives", "Breaks", "Cannot"]
    assert lengths[2] == "Cannot: learned from 2x on."
    order = lines_on(said, "Loss where the order")
    assert (
        order[4] == "Shifted: the same for none, sinusoidal, rotary, alibi and t5; learned cannot."
    )
    costs = lines_on(said, "Costs")
    assert costs[0].endswith("none 0.97x, sinusoidal 0.98x, learned 1.00x, alibi 0.99x, t5 1.18x.")
    assert costs[2] == "Parameters added: learned 8,192, t5 768; the others none."


def test_a_probe_that_moves_one_names_it_once(made_up: MadeUp) -> None:
    facts, records = made_up
    for line in records:
        if line["position"] != "alibi":
            line["order"] = []
    order = lines_on(verdict(summarise(facts, records)), "Loss where the order")
    assert order[2] == "Shuffled: +0.513 (alibi), shown."


def test_breaking_is_dated_from_where_it_lasts(made_up: MadeUp) -> None:
    """Broken at 2x, well at 4x by chance, broken from 8x on."""
    facts, records = made_up
    for line in records:
        if line["position"] == "none":
            lengths = line["same_targets"]["lengths"]
            lengths[2]["loss"] = lengths[0]["loss"] + 0.001
    lengths = lines_on(verdict(summarise(facts, records)), "Context")
    assert lengths[1].startswith("Breaks: none from 8x on +1.6")
    assert "rotary from 2x on" in lengths[1]


def test_costs_of_many_are_a_range(made_up: MadeUp) -> None:
    facts, _ = made_up
    more = {f"rotary:base={n}": {**facts["costs"]["none"], "step_seconds": 0.06} for n in range(3)}
    facts |= {"costs": facts["costs"] | more, "positions": [*facts["positions"], *more]}
    costs = lines_on(verdict(summarise(facts, [])), "Costs")
    assert costs[0].endswith("41 ms: 0.97x (none) to 1.46x (rotary:base=2).")


def test_the_scope_is_named(made_up: MadeUp) -> None:
    assert verdict(summarise(*made_up)).scope == (
        "This holds for this model (0.83 M parameters, 4 layers of width 128, trained on 64 tokens "
        "at a time), this text (python-docs, 351,121 tokens to train on), this budget (2,048,000 "
        "tokens a run, 3 seeds) and learning rates the same for all."
    )


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
            mine = [line for line in said.findings[1].lines if f"{result.position} " in line]
            assert mine and not any(re.search("better|worse", line) for line in mine)
    if spread == 0.2:
        assert said.headline == "No embedding is shown to do better or worse than rotary."


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
    (said,) = [line for line in lines if "alibi and rotary" in line]
    assert said.startswith(
        "Between alibi and rotary no difference is shown: -0.040 (-0.060 to -0.021"
    )
    assert said.endswith("; after Holm's correction p = 0.07).")


def test_one_seed_has_no_interval(made_up: MadeUp) -> None:
    facts, records = made_up
    said = verdict(summarise({**facts, "seeds": 1}, records[:6]))
    assert said.headline == "One seed: no interval, so no difference is claimed."
    assert all("one seed: no interval" in line for line in lines_on(said, "Validation loss"))
    text = everything(said)
    assert not re.search(r"better|worse|Breaks|Survives|Uses|shown", text)
    assert "1 seed)" in said.scope


def test_nothing_trained_says_so_and_what_it_costs(made_up: MadeUp) -> None:
    facts, _ = made_up
    said = verdict(summarise({**facts, "seeds": 0}, []))
    assert said.headline == "Nothing was trained: there are no losses to compare."
    assert [f.heading for f in said.findings] == ["Costs"]


def test_interrupted_says_what_is_missing(made_up: MadeUp) -> None:
    facts, records = made_up
    said = verdict(summarise(facts, records[:11]))
    assert lines_on(said, "Runs") == (
        "Runs not made yet: 1 of none, 1 of sinusoidal, 1 of learned, 1 of rotary, 1 of alibi and "
        "2 of t5. The same command goes on with them.",
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
