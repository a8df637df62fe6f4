"""What is said of an extension follows from paired differences; what chooses is not reported."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from wordorder.evaluation.context import ContextLoss, ContextLosses
from wordorder.extension.method_search import choosing_text, streamed_of, text_to_choose_on
from wordorder.extension.reach import HeldOutText, between, verdict
from wordorder.text.store import TokenStore

NOISE = np.random.default_rng(0).normal(0, 0.3, (12, 4)).repeat(2, 0)  # what documents are about


def losses(*means: float | None, noise: float = 0.01) -> ContextLosses:
    """Losses at 64, 128, 256 tokens of 24 windows, two of each document."""
    drawn = np.random.default_rng(len(means)).normal(0, noise, (24, 3))
    lengths = []
    for number, (length, mean) in enumerate(zip((64, 128, 256), means, strict=True)):
        if mean is None:
            lengths.append(ContextLoss(length, None, None, (), cannot="no such position"))
            continue
        windows = mean + NOISE[:, 0] + drawn[:, number]
        lengths.append(ContextLoss(length, float(windows.mean()), 0.1, tuple(windows.tolist())))
    return ContextLosses(24 * 32, 12, tuple(lengths), tuple(np.arange(24) // 2))


def test_a_run_worse_than_its_parent_at_every_length_is_said_to_be() -> None:
    """It gains from longer context, and its parent without any is better all the same."""
    said = verdict(losses(4.0, 4.05, 4.2), losses(4.5, 4.45, 4.4))
    assert "256 tokens of context against its parent with 64: +0.4" in said
    assert "a higher loss" in said and "a lower loss" not in said
    assert "256 tokens of context against itself with 64: -0.0" in said
    assert "it uses longer context" in said
    assert said.endswith("At every context length, the new run is worse than its parent.")


def test_a_run_that_reads_further_is_said_to_gain() -> None:
    said = verdict(losses(4.0, 4.2, 4.6), losses(4.0, 3.95, 3.9))
    assert "a lower loss" in said and "it uses longer context" in said
    assert "better than its parent at 128, 256" in said
    assert "not significantly different from its parent at 64" in said


def test_what_shows_nothing_says_nothing() -> None:
    said = verdict(losses(4.0, 4.0, 4.0, noise=0.2), losses(4.0, 4.0, 4.0, noise=0.21))
    assert "no significant difference." in said and "undecided whether it survives" in said
    assert said.endswith("the new run is not significantly different from its parent.")


def test_what_prints_as_zero_is_no_effect() -> None:
    """Of the longer context too: +0.001 nats [0.000, +0.001] is neither better nor worse."""
    after = losses(4.0008, 4.0007, 4.0008, noise=0.0008)
    said = verdict(losses(4.0, 4.0, 4.0, noise=0), after)
    assert "+0.001 nats [0.000, +0.001]: no significant difference." in said
    assert "it survives longer context." in said
    assert said.endswith("new run is not significantly different from its parent.")


def test_a_method_that_helps_is_not_blamed_for_the_context_that_costs() -> None:
    said = verdict(losses(4.0, 4.2, 4.6), losses(3.99, 4.05, 4.1, noise=0.001))
    assert "256 tokens of context against its parent with 64: +0.1" in said
    assert "a higher loss" in said and "longer context breaks it" in said
    assert said.endswith("At every context length, the new run is better than its parent.")


def test_a_parent_without_a_loss_is_compared_where_it_has_one() -> None:
    said = verdict(losses(4.0, None, None), losses(4.0, 3.9, 3.8))
    assert "a lower loss" in said
    assert said.endswith("new run is not significantly different from its parent at 64.")
    nothing = verdict(losses(4.0, None, None), losses(4.0, 3.9, None))
    assert "cannot be compared" in nothing


def test_differences_cluster_by_document_with_students_t() -> None:
    """Four documents of two windows: 3 degrees of freedom, and t is 3.182."""
    windows = np.repeat([0.0, 1.0, 2.0, 5.0], 2)
    one = ContextLosses(8, 4, (ContextLoss(8, 0.0, None, (0.0,) * 8),), tuple(np.arange(8) // 2))
    two = ContextLosses(
        8, 4, (ContextLoss(8, 2.0, None, tuple(windows.tolist())),), one.window_documents
    )
    change = between(one, two, 8)
    assert change is not None and change.interval is not None
    error = np.std([0, 1, 2, 5], ddof=1) / 2
    assert change.standard_error == pytest.approx(error)
    assert change.interval[1] - change.mean == pytest.approx(3.182446 * error, rel=1e-6)


def test_differences_of_old_records_have_no_interval() -> None:
    old = {"sinks": 0, "loss": 4.0, "change": {"mean": 0.1, "error": 0.02}, "cannot": None}
    (found,) = streamed_of([old, {**old, "change": None}][:1])
    assert found.change is not None
    assert (found.change.mean, found.change.interval) == (0.1, None)


def store_of(*sizes: int) -> TokenStore:
    ends = np.cumsum(sizes)
    return TokenStore(np.ones(sum(sizes), np.uint16), ends - np.array(sizes), 1, 0, 5)


def material_of(**texts: TokenStore) -> Any:
    return cast(Any, SimpleNamespace(validation=store_of(5000), **texts))


def test_development_text_chooses_where_there_is_one() -> None:
    development = store_of(4000, 4000)
    assert choosing_text(material_of(development=development)) is development
    for material in (material_of(), material_of(development=None)):
        assert choosing_text(material) is material.validation


def test_what_chooses_is_named_and_never_the_reported_text_while_another_serves() -> None:
    tokenizer = cast(Any, None)
    material = material_of(development=store_of(4000))
    reported = HeldOutText(material.validation, tokenizer)
    text, name = text_to_choose_on(material, reported, 512)
    assert (text.store, text.across_documents, name) == (material.development, False, "development")

    short = material_of(development=store_of(*[100] * 40))
    text, name = text_to_choose_on(short, reported, 512)  # its windows cross its documents
    assert (text.store, text.across_documents, name) == (short.development, True, "development")

    little = material_of(development=store_of(600))
    assert text_to_choose_on(little, reported, 512) == (reported, "validation")
    assert text_to_choose_on(material_of(), reported, 512)[1] == "validation"
