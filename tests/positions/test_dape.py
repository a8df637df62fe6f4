"""DAPE against its paper's formula and its traps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wordorder.positions import Dape, ModelShape, PositionError
from wordorder.positions.conformance import check

# Biases are float32, of size 10 here.
CLOSE = 5e-6

VARIANTS = [("alibi", True), ("alibi", False), ("kerple", True), ("kerple", False), ("none", True)]


def inputs(lab, heads: int, time: int = 6) -> list[Tensor]:
    return [2 * lab.numbers(heads, time, 4, seed=seed) for seed in range(3)]


def made(lab, heads: int, *, causal: bool = True, **options) -> Dape:
    dape = Dape(ModelShape(heads, 4, causal=causal), **options)
    dape.reset_parameters(torch.Generator().manual_seed(1))
    return lab.filled(dape)


def weights(dape: Dape) -> list:
    parameters = dape.input_weight, dape.input_bias, dape.output_weight, dape.output_bias
    return [parameter.tolist() for parameter in parameters]


@pytest.mark.parametrize(("bias", "residual"), VARIANTS)
@pytest.mark.parametrize("heads", [1, 6, 12])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("plainly", [True, False])
def test_attention_is_the_papers(
    formula, lab, bias: str, residual: bool, heads: int, causal: bool, plainly: bool
) -> None:
    dape = made(lab, heads, causal=causal, bias=bias, residual=residual, hidden=5)
    paper, network, places = formula("dape"), weights(dape), [0, 1, 2, 4, 5, 9]
    q, k, v = inputs(lab, heads)
    products = (q @ k.mT / 2).tolist()
    numbers = [r.tolist() for r in dape.static.coefficients()] if bias == "kerple" else None

    def static(h: int, distance: int) -> float:
        if numbers is not None:
            return paper.kerple(numbers[0][h], numbers[1][h], distance)
        return paper.alibi(heads, h, distance)

    def score(h: int, i: int, j: int) -> float:
        distance = places[i] - places[j]
        biases = [static(n, distance) for n in range(heads)] if bias != "none" else []
        return paper.score([p[i][j] for p in products], biases, network, h, residual)

    expected = lab.softmax_rows(score, v.tolist(), causal)
    for start in (0, 1000, 100_000):
        given = torch.tensor(places) + start
        found = lab.attended(dape, q, k, v, positions=given, plainly=plainly)
        torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


# "kerple" is the default, which is in the catalogue.
@pytest.mark.parametrize("bias", ["alibi", pytest.param("kerple", marks=pytest.mark.slow), "none"])
@pytest.mark.parametrize("causal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_it_conforms(bias: str, causal: bool) -> None:
    report = check(f"dape:bias={bias}", causal=causal)
    assert report.holds, str(report)


@pytest.mark.parametrize(
    "spec",
    [
        "dape:residual=false,hidden=3",
        pytest.param("dape:bias=kerple,residual=false", marks=pytest.mark.slow),
        "alibi+dape:bias=none",
    ],
)
@pytest.mark.parametrize("causal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_its_variants_conform(spec: str, causal: bool) -> None:
    report = check(spec, causal=causal)
    assert report.holds, str(report)


def test_the_network_sees_the_score_of_others(formula, lab) -> None:
    dape = made(lab, 2, bias="none")
    paper, network = formula("dape"), weights(dape)
    q, k, v = inputs(lab, 2)
    products = (q @ k.mT / 2).tolist()

    def score(h: int, i: int, j: int) -> float:
        worked = [p[i][j] - 0.3 * (n + 1) * (i - j) for n, p in enumerate(products)]
        return paper.score(worked, [], network, h, True)

    slots = torch.arange(6)
    visible = torch.ones(6, 6, dtype=torch.bool).tril()[None, None]
    found = dape.attend(
        q[None], k[None], v[None], slots[None], None, visible,
        lambda s, b, h, i, j: s - 0.3 * (h + 1) * (i - j), slots,
    )[0]  # fmt: skip
    expected = lab.softmax_rows(score, v.tolist(), True)
    torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


# -- traps ------------------------------------------------------------------------------------


@pytest.mark.parametrize("plainly", [True, False])
def test_the_network_works_across_heads(lab, plainly: bool) -> None:
    """Another key in head 0 changes what head 1 attends to."""
    dape = made(lab, 2)
    q, k, v = inputs(lab, 2)
    other = k.clone()
    other[0] += 1
    before = lab.attended(dape, q, k, v, plainly=plainly)
    after = lab.attended(dape, q, other, v, plainly=plainly)
    assert (after[1] - before[1]).abs().max() > 1e-2


def test_first_values_are_those_of_a_linear_layer() -> None:
    """U(-1/sqrt(inputs), 1/sqrt(inputs)): 12 inputs of the first layer, 3,000 of the second."""
    dape = Dape(ModelShape(6, 4), hidden=3000)
    dape.reset_parameters(torch.Generator().manual_seed(0))
    for parameter, inputs in (
        (dape.input_weight, 12),
        (dape.input_bias, 12),
        (dape.output_weight, 3000),
    ):
        assert 0.99 < float(parameter.detach().abs().max()) * inputs**0.5 <= 1
        assert abs(float(parameter.detach().mean())) * inputs**0.5 < 0.05


def test_kerples_numbers_follow_the_generator() -> None:
    found = []
    for _ in range(2):
        dape = Dape(ModelShape(6, 4), bias="kerple")
        dape.reset_parameters(torch.Generator().manual_seed(3))
        found.append(dape.static.raw1.detach())
    assert torch.equal(*found)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(PositionError) as caught:
        Dape(ModelShape(2, 4), bias="fire")
    assert caught.value.code == "positions.dape-bias"
    assert "bias=fire" in str(caught.value)
    with pytest.raises(PositionError) as caught:
        Dape(ModelShape(2, 4), hidden=0)
    assert caught.value.code == "positions.dape-hidden"
    assert "hidden=0" in str(caught.value)
