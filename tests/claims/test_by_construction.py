"""What holds by construction, and a broken embedding that makes it fail."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from wordorder.claims import by_construction
from wordorder.claims.by_construction import (
    SMALL,
    order_seen,
    orders,
    random_model,
    try_bidirectional,
    try_causal,
    try_sinusoids,
)
from wordorder.claims.catalogue import CLAIMS
from wordorder.claims.claim import FAILS, HOLDS, ClaimPlan, judge
from wordorder.positions import CATALOGUE, Position, TokenLayout

ONE = ClaimPlan(seeds=1)


def verdict(name: str) -> Any:
    claim = CLAIMS[name]
    works = claim.works(ONE)
    results = {work.name: work.function(work.job, lambda *told: None) for work in works}
    return judge(claim, claim.read(ONE, results))


class Nothing(Position):
    """Says that it acts at the input, and leaves the words as they are."""

    def embed(self, x: Tensor, layout: TokenLayout) -> Tensor:
        return x


class Constant(Position):
    """Adds the same vector everywhere."""

    def embed(self, x: Tensor, layout: TokenLayout) -> Tensor:
        return x + 1


@pytest.fixture(scope="module")
def few() -> Any:
    """A catalogue of five, so that tests take seconds."""
    names = ("none", "sinusoidal", "learned", "rotary", "alibi")
    kept = {name: CATALOGUE[name] for name in names}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(by_construction, "CATALOGUE", kept)
        yield kept


def test_only_positions_show_a_bidirectional_model_an_order(few: Any) -> None:
    found = verdict("bag-of-words")
    assert found.word == HOLDS
    # ALiBi sees distances alone: a mirror image is the one order that it takes for the text's own.
    assert found.measurements.notes[1].startswith("a text and its mirror image are the same")
    assert found.measurements.notes[1].endswith(": alibi")
    assert not any("I love AI" in line for line in found.measurements.notes)


def test_the_articles_example_is_tried_with_the_articles_embeddings(
    few: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # ALiBi in the place of rotary: it tells other orders apart, and I love AI from AI love I not.
    monkeypatch.setitem(few, "rotary", CATALOGUE["alibi"])
    monkeypatch.setitem(CATALOGUE, "rotary", CATALOGUE["alibi"])
    found = verdict("bag-of-words")
    assert found.by_criterion == (HOLDS, FAILS, HOLDS)


@pytest.mark.parametrize("broken", [Nothing, Constant])
def test_an_embedding_that_shows_no_order_is_caught(
    few: Any, broken: type[Position], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(few, "broken", broken)
    monkeypatch.setitem(CATALOGUE, "broken", broken)
    found = verdict("bag-of-words")
    assert found.word == FAILS
    assert "broken has the smallest difference" in found.measurements.notes[0]


def test_what_only_says_which_positions_are_fed_is_not_asked(
    few: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(few, "randomized", CATALOGUE["randomized"])
    found = try_bidirectional({"seed": 0}, lambda *told: None)
    assert "randomized" not in found["seen"]


def test_depth_is_what_shows_order_to_a_causal_model() -> None:
    found = try_causal({"seed": 0}, lambda *told: None)
    assert found["1 layers"] < 1e-10 < 1e-1 < found["2 layers"]
    assert verdict("causal-order").word == verdict("recurrent-order").word == HOLDS


def test_an_order_is_neither_the_own_nor_its_mirror() -> None:
    for order in orders(3, seed=0):
        assert order.tolist() not in ([0, 1, 2], [2, 1, 0])


def test_random_weights_have_no_zero() -> None:
    model = random_model(replace(SMALL, position="t5"), seed=0)
    assert all(bool((p != 0).any()) for p in model.parameters())
    same = torch.arange(3)
    assert order_seen(model, (0, 1, 2), same) == 0


def test_sinusoids_do_not_meet() -> None:
    found = try_sinusoids({"width": 64, "positions": 3000}, lambda *told: None)
    # By formula: 2 (1 - cos) summed over frequencies, over half the width.
    frequencies = 10000 ** (-torch.arange(32, dtype=torch.float64) / 32)
    for name, least in (("any", 1), ("far", by_construction.FAR)):
        lag = torch.arange(least, 3000, dtype=torch.float64)[:, None]
        apart = (2 * (1 - (lag * frequencies).cos())).sum(1).sqrt() / 32**0.5
        assert found[name]["apart"] == least + int(apart.argmin())
        assert found[name]["difference"] == pytest.approx(float(apart.min()), abs=1e-4)
