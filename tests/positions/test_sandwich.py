"""Sandwich against its paper's inner product, and the traps its users hit."""

from __future__ import annotations

import pytest
import torch

from wordorder.positions import ModelShape, PositionError, Sandwich
from wordorder.positions.conformance import check

CLOSE = 1e-5  # biases are float32, of size 30 here


def dot(a: torch.Tensor, b: torch.Tensor) -> float:
    return sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))


@pytest.mark.parametrize("heads", [1, 6, 12])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("options", [{}, {"dimensions": 8}, {"base": 50.0}])
@pytest.mark.parametrize("plainly", [True, False])
def test_attention_is_the_papers(formula, lab, heads, causal, options, plainly) -> None:
    """The formula keeps the constant that ours takes off: attention does not mind."""
    sandwich = Sandwich(ModelShape(heads, 4, causal=causal), scales="even", **options)
    q, k, v = (lab.numbers(heads, 6, 4, seed=seed) for seed in range(3))
    bias = formula("sandwich").bias
    steps = torch.tensor([0, 1, 2, 5, 40, 300])

    def rows(places: list[int]) -> torch.Tensor:
        def score(h: int, i: int, j: int) -> float:
            fall = bias(heads, h, places[i], places[j], sandwich.dimensions, sandwich.base)
            return dot(q[h][i], k[h][j]) / 2 + fall

        return lab.softmax_rows(score, v.tolist(), causal)

    for start in (0, 1000, 100_000):
        found = lab.attended(sandwich, q, k, v, positions=start + steps, plainly=plainly)
        expected = rows((start + steps).tolist())
        torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)
    found = lab.attended(sandwich, q, k, v, start=3, plainly=plainly)
    torch.testing.assert_close(found, rows(list(range(3, 9))), rtol=0, atol=CLOSE)


def test_the_constant_does_not_matter_the_scale_does(formula) -> None:
    """Ours is the product less its value at distance 0, and falls 1/n as fast in head n."""
    heads, bias = 6, formula("sandwich").bias
    distances = [0, 1, 3, 17, 1000, 999_999]
    found = Sandwich(ModelShape(heads, 4), scales="even").distance_bias(torch.tensor(distances))
    for h in range(heads):
        constant = bias(heads, h, 0, 0, 128, 10000.0)
        expected = [bias(heads, h, n, 0, 128, 10000.0) - constant for n in distances]
        torch.testing.assert_close(found[h], torch.tensor(expected), rtol=1e-6, atol=0)
        torch.testing.assert_close(found[h] * (h + 1), found[0], rtol=1e-6, atol=0)


def test_dimensions_are_not_the_width() -> None:
    """Another width of the model is the same bias; more dimensions are a steeper one."""
    distance = torch.arange(50)
    one, other = (Sandwich(ModelShape(2, 4, width=w)).distance_bias(distance) for w in (8, 512))
    assert torch.equal(one, other)
    steep = Sandwich(ModelShape(2, 4), dimensions=256).distance_bias(distance)
    assert (steep[:, 1:] < 1.6 * one[:, 1:]).all()


def test_many_pairs_are_the_few_distances_they_have() -> None:
    sandwich = Sandwich(ModelShape(3, 4))
    positions = torch.tensor([[5, 6, 7, 5, 6, 90], [0, 1, 2, 3, 4, 5]])
    distance = positions[:, :, None] - positions[:, None]
    expected = sandwich.distance_bias(distance.flatten()).view(3, 2, 6, 6)
    assert torch.equal(sandwich.distance_bias(distance[:, :3, :3]), expected[..., :3, :3])
    assert torch.equal(sandwich.distance_bias(distance[1, 2:, :4]), expected[:, 1, 2:, :4])
    assert torch.equal(sandwich.distance_bias(distance), expected)


def test_one_distance_is_one_of_a_list() -> None:
    position = Sandwich(ModelShape(6, 8))
    one = position.distance_bias(torch.tensor(3))
    torch.testing.assert_close(one, position.distance_bias(torch.arange(5))[:, 3], rtol=0, atol=0)


@pytest.mark.parametrize("name,value", [("dimensions", 7), ("base", 1.0)])
def test_refused(name, value) -> None:
    with pytest.raises(PositionError, match=f"{name}={value}") as caught:
        Sandwich(ModelShape(2, 4), **{name: value})
    assert caught.value.code == f"positions.sandwich-{name}"


@pytest.mark.parametrize(
    "spec", ["sandwich:dimensions=8", pytest.param("sandwich:base=50", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("causal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_kit_holds(spec: str, causal: bool) -> None:
    report = check(spec, causal=causal)
    assert report.holds, str(report)
