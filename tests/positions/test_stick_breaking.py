"""Stick-breaking attention against its paper's formula, and its users' traps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from wordorder.positions import ModelShape, PositionError, StickBreaking, whole_row
from wordorder.positions.conformance import check
from wordorder.positions.stick_breaking import shares

CLOSE = 1e-6  # everything is float64, except for the expected rows


def rows_of(formula, q: Tensor, k: Tensor, v: Tensor, own: bool) -> Tensor:
    heads, time, width = v.shape
    rows = torch.zeros(heads, time, width, dtype=torch.float64)
    for h in range(heads):
        for i in range(time):
            scores = [
                sum(a * b for a, b in zip(q[h, i].tolist(), k[h, j].tolist(), strict=True))
                / math.sqrt(width)
                for j in range(i + 1)
            ]
            weights = formula("stick_breaking").weights(scores, own)
            rows[h, i] = sum(w * v[h, j] for j, w in enumerate(weights))
    return rows


@pytest.mark.parametrize("heads", [1, 6])
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("plainly", [True, False])
def test_attention_is_the_papers(formula, lab, heads: int, own: bool, plainly: bool) -> None:
    position = StickBreaking(ModelShape(heads, 4), own=own)
    q, k, v = (2 * lab.numbers(heads, 9, 4, seed=seed) for seed in range(3))
    expected = rows_of(formula, q, k, v, own)
    for given in (None, torch.arange(9) * 1000 + 5):  # positions have no part in it
        output = lab.attended(position, q, k, v, positions=given, plainly=plainly)
        torch.testing.assert_close(output, expected, rtol=0, atol=CLOSE)


def test_it_is_the_same_in_tiles(monkeypatch: pytest.MonkeyPatch, formula, lab) -> None:
    monkeypatch.setattr(whole_row, "TILE_SCORES", 1)
    monkeypatch.setattr(whole_row, "FEWEST_ROWS", 2)
    q, k, v = (2 * lab.numbers(2, 9, 4, seed=seed) for seed in range(3))
    output = lab.attended(StickBreaking(ModelShape(2, 4)), q, k, v)
    torch.testing.assert_close(output, rows_of(formula, q, k, v, False), rtol=0, atol=CLOSE)


@pytest.mark.parametrize("spec", ["stick-breaking:own=true", "rotary+stick-breaking"])
def test_it_conforms(spec: str) -> None:
    report = check(spec)
    assert report.holds, str(report)


# -- traps ------------------------------------------------------------------------------------


def test_masked_keys_take_nothing_and_pass_everything_on(lab) -> None:
    scores = lab.numbers(3, 6)
    allowed = torch.tensor([True, False, True, True, False, True])
    weights = shares(scores, allowed)
    assert not weights[:, ~allowed].any()
    alone = shares(scores[:, allowed], torch.ones(4, dtype=torch.bool))
    torch.testing.assert_close(weights[:, allowed], alone)


def test_of_equal_keys_the_nearer_has_more() -> None:
    weights = shares(torch.zeros(6, dtype=torch.float64), torch.ones(6, dtype=torch.bool))
    halves = [0.5**n for n in range(6, 0, -1)]
    assert weights.tolist() == pytest.approx(halves)
    assert float(weights.sum()) == pytest.approx(1 - 0.5**6)  # and not 1


def test_far_sums_keep_near_keys_exact() -> None:
    """In float32, after a million keys that are passed over, and with ones that take all."""
    scores = torch.full((1_000_000,), -5.0)
    scores[-3:] = torch.tensor([1.0, -2.0, 0.5])
    weights = shares(scores, torch.ones(len(scores), dtype=torch.bool))
    b = [1 / (1 + math.exp(-z)) for z in (1.0, -2.0, 0.5)]
    expected = [b[0] * (1 - b[1]) * (1 - b[2]), b[1] * (1 - b[2]), b[2]]
    assert weights[-3:].tolist() == pytest.approx(expected, rel=1e-6)
    scores[-2] = 200.0
    weights = shares(scores, torch.ones(len(scores), dtype=torch.bool))
    assert torch.isfinite(weights).all() and float(weights[:-2].max()) < 1e-30


def test_gradients_are_finite_where_all_is_masked() -> None:
    scores = torch.zeros(2, 3, requires_grad=True)
    shares(scores, torch.tensor([[False] * 3, [True] * 3])).sum().backward()
    assert scores.grad is not None and torch.isfinite(scores.grad).all()
    assert not scores.grad[0].any()


def test_the_first_token_has_nothing_to_attend_to(lab) -> None:
    q, k, v = (lab.numbers(2, 4, 4, seed=seed) for seed in range(3))
    assert not lab.attended(StickBreaking(ModelShape(2, 4)), q, k, v)[:, 0].any()
    assert lab.attended(StickBreaking(ModelShape(2, 4), own=True), q, k, v)[:, 0].any()


def test_a_bidirectional_model_is_refused() -> None:
    with pytest.raises(PositionError) as caught:
        StickBreaking(ModelShape(2, 4, causal=False))
    assert caught.value.code == "positions.stick-breaking-bidirectional"
