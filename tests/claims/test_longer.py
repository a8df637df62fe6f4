"""Claims about untuned models and longer texts: planted results, exact bases, small models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from wordorder.claims import measurements
from wordorder.claims.catalogue import CLAIMS
from wordorder.claims.claim import (
    DIRECTION,
    FAILS,
    HOLDS,
    NOT_TESTABLE,
    UNDECIDED,
    ClaimPlan,
    Verdict,
    judge,
)
from wordorder.claims.longer import find_base
from wordorder.claims.measurements import (
    SCALED,
    last_doubling,
    near_and_far,
    scalings,
    sinks,
    word_frequencies,
)
from wordorder.errors import BadInput
from wordorder.evaluation.streaming_llm import streamed_losses
from wordorder.evaluation.windows import cut_windows, target_losses
from wordorder.extension.with_position import with_position
from wordorder.model import LanguageModel, ModelConfig
from wordorder.text.store import TokenStore

PLAN = ClaimPlan(seeds=3)
SPREAD = (0.0, 0.002, -0.002)  # of seeds
AT_FOUR = {"plain": 0.9, "interpolation": 0.7, "NTK": 0.4, "dynamic NTK": 0.3, "YaRN": 0.5}
LENGTH, VOCABULARY = 16, 30


def verdict(
    name: str,
    scaled: Mapping[str, float] = AT_FOUR,
    lost: float = 0.2,
    *,
    attended: float = 0.3,
    gain: float = 0.05,
) -> Verdict:
    """Return the verdict on a claim about rotary models that score so, four times as far."""
    claim, results = CLAIMS[name], {}
    for seed, work in enumerate(claim.works(PLAN)):
        results[work.name] = {
            "scalings": {
                # Seeds differ from method to method, so that a difference has an interval.
                "4": {n: v + n.count("N") * SPREAD[seed] for n, v in scaled.items()},
            },
            "sinks": {
                "0": 4.5 + lost + SPREAD[seed],
                "1": 4.55,
                "4": 4.5,
                "attended": attended + SPREAD[seed],
            },
            "last-doubling": {"mean": gain + SPREAD[seed], "low": gain - 0.01, "high": gain + 0.01},
        }
    return judge(claim, claim.read(PLAN, results))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, (HOLDS, HOLDS, HOLDS)),
        ({"plain": 0.6}, (FAILS, HOLDS, HOLDS)),
        ({"NTK": 0.8}, (HOLDS, FAILS, HOLDS)),
        ({"NTK": 0.7}, (HOLDS, UNDECIDED, HOLDS)),
        ({"interpolation": 0.1, "NTK": 0.05}, (HOLDS, HOLDS, DIRECTION)),
        ({"plain": 3, "interpolation": 2}, (HOLDS, HOLDS, DIRECTION)),
        ({"interpolation": -0.1, "NTK": -0.2}, (HOLDS, HOLDS, FAILS)),
    ],
)
def test_interpolation_holds_and_fails(changes: dict[str, float], words: tuple[str, ...]) -> None:
    found = verdict("interpolation-untuned", {**AT_FOUR, **changes})
    assert found.by_criterion == words


def test_what_has_no_criterion_is_told() -> None:
    notes = verdict("interpolation-untuned").measurements.notes
    assert "dynamic NTK +0.300, YaRN +0.500" in notes[0]
    assert "with 5.7 or more rotations" in notes[1]


def test_scalings_are_not_tried_on_models_that_use_no_far_context() -> None:
    assert verdict("interpolation-untuned").word == HOLDS
    assert verdict("interpolation-untuned", gain=0.0).word == NOT_TESTABLE
    lost = verdict("interpolation-untuned", {**AT_FOUR, "plain": 0.1}, gain=0.0)
    assert set(lost.by_criterion) == {NOT_TESTABLE}


@pytest.mark.parametrize(
    ("lost", "attended", "word"),
    [
        (0.2, 0.3, HOLDS),
        (0.2, 0.01, HOLDS),  # what is lost is lost
        (0.051, 0.3, UNDECIDED),
        (0.03, 0.3, DIRECTION),
        (-0.2, 0.3, FAILS),
        (0.03, 0.01, NOT_TESTABLE),  # attention does not rest there to begin with
        (-0.2, 0.01, NOT_TESTABLE),
    ],
)
def test_sinks_hold_and_fail(lost: float, attended: float, word: str) -> None:
    found = verdict("first-tokens-are-sinks", lost=lost, attended=attended)
    assert found.by_criterion == (word,)
    assert "with 1 kept" in found.measurements.notes[0]
    assert found.intervals["0 kept minus 4 kept"].mean == pytest.approx(lost)


@pytest.mark.parametrize("name", ["interpolation-untuned", "first-tokens-are-sinks"])
def test_no_model_decides_nothing(name: str) -> None:
    claim = CLAIMS[name]
    assert judge(claim, claim.read(PLAN, {})).word == UNDECIDED


SMALLEST = {(128, 1024): 4294, (128, 4096): 26957, (128, 8192): 83774}
HEADS = {(32, 512): 12487, (64, 512): 3439, (128, 512): 2066}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, (HOLDS, HOLDS)),
        ({(128, 4096): 28630}, (FAILS, HOLDS)),
        ({(128, 8192): 80000}, (FAILS, HOLDS)),
        ({(64, 512): 2000}, (HOLDS, FAILS)),
        ({(32, 512): 3000}, (HOLDS, FAILS)),
    ],
)
def test_bases_hold_and_fail(changes: dict[tuple[int, int], int], words: tuple[str, ...]) -> None:
    claim, bases = CLAIMS["base-bound"], {**SMALLEST, **HEADS, **changes}
    results = {}
    for work in claim.works(PLAN):
        base = bases[work.job["head"], work.job["length"]]
        results[work.name] = {"smallest": base, "last": 1.01 * base, "after": 1.5 * base}
    assert len(results) == len(bases)
    found = judge(claim, claim.read(PLAN, results))
    assert found.by_criterion == words
    # A head in between that is missing leaves nothing to compare.
    results.pop("exact/base-64-512")
    assert judge(claim, claim.read(PLAN, results)).by_criterion[1] == UNDECIDED


def sums(base: float, head: int, length: int) -> list[float]:
    pairs = range(head // 2)
    return [sum(math.cos(m * base ** (-2 * i / head)) for i in pairs) for m in range(length + 1)]


def test_bases_by_the_formula() -> None:
    head, length = 16, 64
    found = find_base({"head": head, "length": length}, lambda *told: None)
    step = 1.0002
    for base, serves in (
        (found["smallest"], True),
        (found["smallest"] / step, False),
        (found["last"], True),
        (found["last"] * step, False),
        (found["after"], True),
        (found["after"] / step, False),
    ):
        assert (min(sums(base, head, length)) >= 0) == serves


def test_an_island_of_bases() -> None:
    found = find_base({"head": 64, "length": 512}, lambda *told: None)
    assert found == pytest.approx({"smallest": 3440, "last": 3452, "after": 5400}, rel=1e-3)


@pytest.fixture(scope="module")
def asked() -> tuple[Any, Any]:
    """A run of a small model with random weights, and documents 8 times as long as it reads."""
    config = ModelConfig(
        vocabulary_size=VOCABULARY,
        width=32,
        layers=2,
        heads=2,
        trained_length=LENGTH,
        position="rotary",
    )
    model = LanguageModel(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
    tokens = np.random.default_rng(0).integers(1, VOCABULARY, 4 * 200).astype(np.uint32)
    starts = np.arange(4) * 200
    store = TokenStore(tokens, starts, len(tokens), 0, VOCABULARY)
    return SimpleNamespace(model=model, model_config=config), SimpleNamespace(validation=store)


def test_scalings_are_read_on_the_same_targets(asked: tuple[Any, Any]) -> None:
    run, material = asked
    found = scalings(run, material)
    assert list(found) == [str(factor) for factor in SCALED]
    windows = cut_windows(material.validation, 8 * LENGTH, LENGTH // 2)
    base = target_losses(run.model, windows.tokens[:, -LENGTH - 1 :], LENGTH // 2)
    for name, spec in (
        ("plain", "rotary"),
        ("interpolation", "rotary:scaling=linear,factor=4"),
        ("NTK", "rotary:scaling=ntk,factor=4"),
        ("dynamic NTK", f"rotary:scaling=dynamic,original_length={LENGTH}"),
        ("YaRN", f"rotary:scaling=yarn,factor=4,original_length={LENGTH},beta_fast=2"),
    ):
        tokens = windows.tokens[:, -4 * LENGTH - 1 :]
        there = target_losses(with_position(run.model, spec), tokens, LENGTH // 2)
        assert found["4"][name] == pytest.approx(float((there - base).mean()), abs=1e-6)
    # What dynamic NTK divides by is how much longer the text is: here the very factor.
    assert found["4"]["dynamic NTK"] == pytest.approx(found["4"]["NTK"], abs=1e-6)
    assert len({round(value, 6) for value in found["4"].values()}) == 4


def test_sinks_are_read_with_the_trained_length_as_cache(asked: tuple[Any, Any]) -> None:
    run, material = asked
    found = sinks(run, material)
    windows = cut_windows(material.validation, 4 * LENGTH, LENGTH // 2)
    for kept in (0, 1, 4):
        losses = streamed_losses(run.model, windows.tokens, LENGTH // 2, window=LENGTH, sinks=kept)
        assert found[str(kept)] == pytest.approx(float(losses.mean()), abs=1e-6)
    assert len(set(found.values())) == 4
    assert 0 < found["attended"] < 1


def test_the_last_doubling_is_read_on_the_same_targets(asked: tuple[Any, Any]) -> None:
    run, material = asked
    found = last_doubling(run, material)
    targets = LENGTH // 4
    windows = cut_windows(material.validation, LENGTH, targets, most_targets=8192)
    half = target_losses(run.model, windows.tokens[:, -LENGTH // 2 - 1 :], targets)
    whole = target_losses(run.model, windows.tokens, targets)
    assert found["mean"] == pytest.approx(float((half - whole).mean()), abs=1e-6)
    assert found["low"] is not None and found["high"] is not None
    assert found["low"] < found["mean"] < found["high"]


def test_what_is_beyond_fifty_tokens_is_cut_off(
    asked: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurements, "FAR", 8)
    monkeypatch.setattr(measurements, "NEAR", 4)
    run, material = asked
    found = near_and_far(run, material)
    windows = cut_windows(material.validation, LENGTH, 1, across_documents=True, most_targets=2048)
    base = target_losses(run.model, windows.tokens, 1)
    cut = target_losses(run.model, windows.tokens[:, -9:], 1)
    assert found["cut"]["mean"] == pytest.approx(float((cut - base).mean()), abs=1e-6)


def test_word_frequencies_are_those_of_training(asked: tuple[Any, Any]) -> None:
    run, material = asked
    store = material.validation
    tokens = np.array([1, 1, 1, 2], np.uint32)
    training = TokenStore(tokens, np.array([0]), 4, 0, VOCABULARY)
    held_out = TokenStore(np.array([1, 2, 3], np.uint32), np.array([0]), 3, 0, VOCABULARY)
    both = SimpleNamespace(training=training, validation=held_out)
    total = 4 + VOCABULARY  # each kind counts once more, so that none is impossible
    by_hand = -(math.log(4 / total) + math.log(2 / total) + math.log(1 / total)) / 3
    assert word_frequencies(run, both) == pytest.approx(by_hand)
    assert word_frequencies(run, SimpleNamespace(training=store, validation=store)) > 0


def test_short_documents_are_said(asked: tuple[Any, Any]) -> None:
    run, material = asked
    store = material.validation
    short = TokenStore(store.tokens[:50], store.starts[:1], 50, 0, VOCABULARY)
    with pytest.raises(BadInput, match="no document of the text reaches 128 tokens"):
        scalings(run, SimpleNamespace(validation=short))
