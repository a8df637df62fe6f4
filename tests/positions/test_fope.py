"""FoPE against its paper's formula, rotary, and its users' traps."""

from __future__ import annotations

import math

import pytest
import torch

from wordorder.positions import Fope, ModelShape, PositionError, Rotary, TokenLayout, build
from wordorder.positions.conformance import check

# Cosines and sines are float32, in sums of up to four products of size 1.
CLOSE = 3e-6


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("options", [{}, {"base": 30.0}, {"period": 500, "learned": True}])
@pytest.mark.parametrize("plainly", [True, False])
def test_attention_is_the_papers(formula, lab, causal, options, plainly) -> None:
    fope = lab.filled(Fope(ModelShape(3, 8, trained_length=64, causal=causal), **options))
    paper, weights = formula("fope"), [fope.cosine_weights.tolist(), fope.sine_weights.tolist()]
    turning = paper.frequencies(8, fope.resolved_base, fope.resolved_period)
    assert 1 < len(turning) == len(fope.frequencies()) <= 4
    q, k, v = (lab.numbers(3, 6, 8, seed=seed) for seed in range(3))
    steps = torch.tensor([0, 1, 2, 5, 40, 300])
    for places in (steps, steps + 1000, steps + 1_000_000):
        mixed = [
            [
                [
                    paper.mixed(vector, p, weights[0][h], weights[1][h], turning)
                    for vector, p in zip(head, places.tolist(), strict=True)
                ]
                for h, head in enumerate(each.tolist())
            ]
            for each in (q, k)
        ]

        def score(h: int, i: int, j: int, mixed: list = mixed) -> float:
            pair = zip(mixed[0][h][i], mixed[1][h][j], strict=True)
            return sum(a * b for a, b in pair) / math.sqrt(8)

        expected = lab.softmax_rows(score, v.tolist(), causal)
        output = lab.attended(fope, q, k, v, positions=places, plainly=plainly)
        torch.testing.assert_close(output, expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("spec", ["fope:learned=true", "fope+alibi", "fope:period=300/none"])
@pytest.mark.parametrize("causal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_it_conforms(spec: str, causal: bool) -> None:
    report = check(spec, causal=causal)
    assert report.holds, str(report)


def test_without_a_mixture_it_is_rotary_without_slow_pairs(lab) -> None:
    """That is HoPE, rotary:proportional=true,fraction=0."""
    shape = ModelShape(2, 16, trained_length=64)
    q, k, v = (lab.numbers(2, 9, 16, seed=seed) for seed in range(3))
    hope = Rotary(shape, proportional=True, fraction=0.0)
    outputs = [lab.attended(position, q, k, v) for position in (Fope(shape, gain=0.0), hope)]
    torch.testing.assert_close(*outputs, rtol=0, atol=CLOSE)


# -- traps ------------------------------------------------------------------------------------


def test_slow_pairs_are_constant_with_a_sine_of_nothing(lab) -> None:
    """The trained length decides which; a longer sequence later changes nothing."""
    fope = Fope(ModelShape(2, 16, trained_length=64))
    count = len(fope.frequencies())
    assert 0 < count < 8
    vectors = lab.numbers(1, 2, 5, 16)
    for places in (torch.arange(5), torch.arange(5) * 1000):
        tables = fope.prepare(TokenLayout.of(places[None], context_length=5000))
        output = fope.transform_queries(vectors, tables, None)
        assert torch.equal(output[..., 2 * count :], vectors[..., 2 * count :])
        assert not torch.equal(output[..., : 2 * count], vectors[..., : 2 * count])


def test_at_least_one_pair_turns() -> None:
    for length in range(1, 8):
        assert len(Fope(ModelShape(2, 16, trained_length=length)).frequencies()) >= 1


def test_the_mixture_is_drawn_once_and_kept() -> None:
    """It is saved with the weights and not trained, unless asked."""
    fope = Fope(ModelShape(2, 16, trained_length=512))
    assert set(fope.state_dict()) == {"cosine_weights", "sine_weights"}
    assert not any(p.requires_grad for p in fope.parameters())
    assert all(p.requires_grad for p in Fope(ModelShape(2, 16), learned=True).parameters())
    assert len(build("fope", ModelShape(2, 16, layers=3)).instances) == 3


def test_first_values() -> None:
    """Of the 24 pairs of a head of 64, over 20 turn within 1,000,000 tokens."""
    fope = Fope(ModelShape(8, 64, trained_length=1_000_000), gain=0.6)
    for weights in (fope.cosine_weights, fope.sine_weights):
        count = weights.shape[-1]
        noise = weights - torch.eye(count)
        assert float(noise.std()) == pytest.approx(0.6 * count**-0.5, rel=0.05)


def test_grouped_keys_are_mixed_for_every_query_head(lab) -> None:
    fope = lab.filled(Fope(ModelShape(4, 8, trained_length=64)))
    keys = lab.numbers(1, 2, 5, 8)
    tables = fope.prepare(TokenLayout.of(torch.arange(5)[None]))
    output = fope.transform_keys(keys, tables, None)
    expected = fope.transform_queries(keys[:, [0, 0, 1, 1]], tables, None)
    assert output.shape == (1, 4, 5, 8) and torch.equal(output, expected)


@pytest.mark.parametrize("options", [{"base": -1.0}, {"gain": -0.1}, {"period": -1}])
def test_bad_options_are_refused(options: dict) -> None:
    with pytest.raises(PositionError) as caught:
        Fope(ModelShape(2, 8), **options)
    assert caught.value.code == "positions.fope-option"


def test_an_odd_head_is_refused() -> None:
    with pytest.raises(PositionError) as caught:
        Fope(ModelShape(2, 7))
    assert caught.value.code == "positions.fope-head-size"
