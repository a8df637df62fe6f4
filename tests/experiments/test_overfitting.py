"""Overfitting is said where it happens: before the runs, in the headline, and with its numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from wordorder.experiments import overfitting, tables
from wordorder.experiments.comparison import Comparison
from wordorder.experiments.summary import Summary, summarise
from wordorder.experiments.verdict import verdict

MadeUp = tuple[Comparison, list[dict[str, Any]]]


def overfitted(made_up: MadeUp, rise: float, **facts: Any) -> Summary:
    """Runs of rotary whose loss has risen since the middle of training."""
    for line in made_up[1]:
        if line["position"] == "rotary":
            line["curve"][4][1] = 3.5
            line["curve"][-1][1] = 3.5 + rise
    return summarise(replace(made_up[0], **facts), made_up[1])


@pytest.mark.parametrize(
    ("passes", "printed", "warned"),
    [(0.5, "0.5", False), (4.0, "4", False), (4.7, "4.7", True), (13.2, "13", True)],
)
def test_passes_are_said_before_the_runs(passes: float, printed: str, warned: bool) -> None:
    lines = overfitting.before_it_starts(passes)
    assert lines[0] == f"each run makes {printed} passes over the training text"
    assert any(line.startswith("warning: ") for line in lines) == warned


def test_a_loss_that_rose_is_the_first_thing_that_is_said(made_up: MadeUp) -> None:
    summary = overfitted(made_up, 0.31, passes=47.3)
    said = verdict(summary)
    assert said.headline.startswith(
        "After 47 passes over the text this comparison ranks overfitting: losses rose after their "
        "minimum by up to 0.310 nats (rotary). Better than rotary: alibi."
    )
    (found,) = [f for f in said.findings if f.heading == "How training ended"]
    assert found.lines[0] == (
        "Loss on the beginning of the validation text: rotary 3.500 at best, 3.810 at the last "
        "step."
    )
    assert found.lines[1].startswith("At the best step of each instead, against rotary: ")
    row = next(row for row in tables.training(summary).rows if row[0] == "rotary")
    assert row == ["rotary", "3.5000", "1,024,000", "3.8100", "+0.3100", ""]


def test_many_passes_qualify_the_headline_and_few_do_not(made_up: MadeUp) -> None:
    assert verdict(overfitted(made_up, 0.0, passes=6.0)).headline.startswith(
        "After 6 passes over the text this comparison may rank overfitting, although no loss rose "
        "by more than 0.02 nats."
    )
    for summary in (overfitted(made_up, 0.0, passes=3.9), overfitted(made_up, 0.015, passes=3.9)):
        assert verdict(summary).headline.startswith("Better than rotary")


def test_best_and_last_are_those_of_the_curve(made_up: MadeUp) -> None:
    rotary = next(r for r in overfitted(made_up, 0.1).results if r.position == "rotary")
    assert (rotary.best_nats, rotary.last_nats) == pytest.approx((3.5, 3.6))
    assert rotary.overfitting_nats == pytest.approx(0.1)


def test_a_validation_loss_far_above_the_training_loss_is_said(made_up: MadeUp) -> None:
    facts, records = made_up
    for line in records:
        line["training_loss"] = line.get("validation_loss", 0) - (
            1.25 if line["position"] == "none" else 0.2
        )
    lines = list(overfitting.lines(summarise(facts, records)))
    assert lines == [
        "The validation loss is far above the training loss of the last steps (nats): none "
        "+1.250. The models have memorised part of their training text."
    ]


def test_a_loss_above_that_of_guessing_is_said(made_up: MadeUp) -> None:
    facts, records = made_up
    facts.model["vocabulary_size"] = 1024
    assert not list(overfitting.lines(summarise(facts, records)))
    for line in records:
        if line["position"] == "learned":
            line["validation_loss"] = 49.9  # a perplexity of 5e21
    (line,) = overfitting.lines(summarise(facts, records))
    assert line.startswith("Worse than uniform guessing among 1,024 tokens (a loss of 6.93 nats): ")
    assert "learned" in line and "rotary" not in line
