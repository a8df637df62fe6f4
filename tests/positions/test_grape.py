"""GRAPE against the exponential of its matrix, rotary, and its users' traps."""

from __future__ import annotations

import math

import pytest
import torch

from wordorder.positions import Grape, ModelShape, PositionError, Rotary, TokenLayout, build
from wordorder.positions.conformance import check

CLOSE = 3e-6  # cosines and sines are float32, in products of size 1


def planes_of(grape: Grape, head: int) -> list[tuple[float, list[float], list[float]]]:
    """Return the frequency and the two vectors of each plane of a head."""
    frequencies = grape.log_frequencies[head].double().exp().tolist()
    if grape.block == 2:
        return [(w, [1.0, 0.0], [0.0, 1.0]) for w in frequencies]
    first, second = grape.axes[:, head].tolist()
    return list(zip(frequencies, first, second, strict=True))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("options", [{}, {"base": 30.0}, {"planes": 1}, {"planes": 2}])
@pytest.mark.parametrize("plainly", [True, False])
def test_attention_is_the_papers(formula, lab, causal, options, plainly) -> None:
    grape = lab.filled(Grape(ModelShape(3, 8, trained_length=64, causal=causal), **options))
    paper = formula("grape")
    q, k, v = (lab.numbers(3, 6, 8, seed=seed) for seed in range(3))
    steps = torch.tensor([0, 1, 2, 5, 40, 300])
    for places in (steps, steps + 1_000_000):
        rotated = [
            [
                [
                    paper.turned(vector, p, planes_of(grape, h))
                    for vector, p in zip(head, places.tolist(), strict=True)
                ]
                for h, head in enumerate(each.tolist())
            ]
            for each in (q, k)
        ]

        def score(h: int, i: int, j: int, rotated: list = rotated) -> float:
            pair = zip(rotated[0][h][i], rotated[1][h][j], strict=True)
            return sum(a * b for a, b in pair) / math.sqrt(8)

        expected = lab.softmax_rows(score, v.tolist(), causal)
        output = lab.attended(grape, q, k, v, positions=places, plainly=plainly)
        torch.testing.assert_close(output, expected, rtol=0, atol=CLOSE)


def test_a_score_is_the_exponential_of_the_distance(formula, lab) -> None:
    """q' exp((j - i) w L) k, without a rotation of the query."""
    grape, paper = lab.filled(Grape(ModelShape(2, 8), planes=2)), formula("grape")
    q, k = (lab.numbers(1, 2, 1, 8, seed=seed) for seed in range(2))
    for i, j in ((40, 3), (3, 40), (7, 7)):
        layout = TokenLayout.of(torch.tensor([[i, j]]))
        tables = grape.prepare(layout)
        turned = grape.transform_queries(torch.cat((q, k), 2), tables, None)
        products = (turned[0, :, 0] * turned[0, :, 1]).sum(-1).tolist()
        for head, product in enumerate(products):
            key = paper.turned(k[0, head, 0].tolist(), j - i, planes_of(grape, head))
            expected = sum(a * b for a, b in zip(q[0, head, 0].tolist(), key, strict=True))
            assert product == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "spec", [pytest.param("grape:planes=1", marks=pytest.mark.slow), "grape:planes=2,learned=false"]
)
@pytest.mark.parametrize("causal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_it_conforms(spec: str, causal: bool) -> None:
    report = check(spec, causal=causal)
    assert report.holds, str(report)


@pytest.mark.parametrize("options", [{}, {"base": 500.0}])
def test_first_it_is_rotary_with_the_two_of_each_pair_swapped(lab, options) -> None:
    shape = ModelShape(2, 16, trained_length=64)
    q, k, v = (lab.numbers(2, 9, 16, seed=seed) for seed in range(3))
    swapped = [2 * (i // 2) + 1 - i % 2 for i in range(16)]
    expected = lab.attended(Rotary(shape, **options), q[..., swapped], k[..., swapped], v)
    output = lab.attended(Grape(shape, **options), q, k, v)
    torch.testing.assert_close(output, expected, rtol=0, atol=CLOSE)


# -- traps ------------------------------------------------------------------------------------


def test_what_is_perpendicular_to_a_plane_stays(lab) -> None:
    """One plane of a head of 8 leaves six directions and every length as they are."""
    grape = lab.filled(Grape(ModelShape(2, 8), planes=1))
    vectors = lab.numbers(1, 2, 5, 8)
    first, second = grape.axes[:, :, 0].to(vectors.dtype)
    basis = torch.linalg.qr(torch.stack((first, second), -1))[0]  # (heads, 8, 2)
    beside = vectors - torch.einsum("hdp,hep,bhte->bhtd", basis, basis, vectors)
    tables = grape.prepare(TokenLayout.of(torch.arange(5)[None] * 7))
    torch.testing.assert_close(
        grape.transform_queries(beside, tables, None), beside, rtol=0, atol=1e-5
    )
    turned = grape.transform_queries(vectors, tables, None)
    torch.testing.assert_close(turned.norm(dim=-1), vectors.norm(dim=-1), rtol=1e-5, atol=0)
    assert not torch.allclose(turned[:, :, 1:], vectors[:, :, 1:])


def test_neither_the_length_of_the_vectors_nor_their_angle_counts(lab) -> None:
    """Only their plane does, and the side from which it is seen."""
    grape = lab.filled(Grape(ModelShape(2, 8), planes=1))
    vectors, layout = lab.numbers(1, 2, 5, 8), TokenLayout.of(torch.arange(5)[None])
    before = grape.transform_queries(vectors, grape.prepare(layout), None)
    with torch.no_grad():
        first, second = grape.axes.clone()
        grape.axes.copy_(torch.stack((3 * first, 0.2 * second + first)))
    after = grape.transform_queries(vectors, grape.prepare(layout), None)
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)


@pytest.mark.parametrize("planes", [0, 1, 2])
def test_frequencies_and_planes_get_gradients(lab, planes: int) -> None:
    grape = lab.filled(Grape(ModelShape(2, 8), planes=planes))
    tables = grape.prepare(TokenLayout.of(torch.arange(5)[None]))
    vectors = lab.numbers(1, 2, 5, 8)
    (
        grape.transform_queries(vectors, tables, None) * lab.numbers(1, 2, 5, 8, seed=1)
    ).sum().backward()
    names = {name for name, p in grape.named_parameters() if p.grad is not None and p.grad.all()}
    assert names == ({"log_frequencies", "axes"} if planes else {"log_frequencies"})


def test_fixed_frequencies_are_not_trained() -> None:
    assert not Grape(ModelShape(2, 8), learned=False).log_frequencies.requires_grad
    assert Grape(ModelShape(2, 8), planes=2, learned=False).axes.requires_grad
    assert len(build("grape", ModelShape(2, 16, layers=3)).instances) == 3


def test_first_frequencies() -> None:
    shape = ModelShape(2, 8, trained_length=512)
    frequencies = Grape(shape, base=10_000.0).log_frequencies.exp()
    torch.testing.assert_close(frequencies, torch.tensor([[1, 0.1, 0.01, 0.001]]).expand(2, 4))
    # With fewer planes the heads cover the frequencies together.
    frequencies = Grape(shape, base=10_000.0, planes=2).log_frequencies.exp()
    torch.testing.assert_close(frequencies, torch.tensor([[1, 0.01], [0.1, 0.001]]))


def test_far_along_distances_are_exact(lab) -> None:
    """A float32 angle would be off by .04 at position 1,000,000."""
    grape = Grape(ModelShape(2, 8), planes=2)
    q, k, v = (lab.numbers(2, 5, 8, seed=seed) for seed in range(3))
    places = torch.arange(5)
    near, far = (lab.attended(grape, q, k, v, positions=p) for p in (places, places + 1_000_000))
    torch.testing.assert_close(near, far, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("planes", [0, 2])
def test_grouped_keys_are_rotated_for_every_query_head(lab, planes: int) -> None:
    grape = lab.filled(Grape(ModelShape(4, 8), planes=planes))
    keys = lab.numbers(1, 2, 5, 8)
    tables = grape.prepare(TokenLayout.of(torch.arange(5)[None]))
    output = grape.transform_keys(keys, tables, None)
    expected = grape.transform_queries(keys[:, [0, 0, 1, 1]], tables, None)
    assert output.shape == (1, 4, 5, 8) and torch.equal(output, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("planes", [0, 2])
def test_the_dtype_stays(lab, dtype: torch.dtype, planes: int) -> None:
    grape = Grape(ModelShape(2, 8), planes=planes)
    tables = grape.prepare(TokenLayout.of(torch.arange(5)[None]))
    vectors = lab.numbers(1, 2, 5, 8).to(dtype)
    assert grape.transform_queries(vectors, tables, None).dtype == dtype


@pytest.mark.parametrize(
    ("head_dim", "options", "code"),
    [
        (7, {}, "head-size"),
        (8, {"planes": 3}, "planes"),
        (8, {"planes": 8}, "planes"),
        (8, {"planes": -1}, "planes"),
        (8, {"base": -1.0}, "base"),
    ],
)
def test_bad_options_are_refused(head_dim: int, options: dict, code: str) -> None:
    with pytest.raises(PositionError) as caught:
        Grape(ModelShape(2, head_dim), **options)
    assert caught.value.code == f"positions.grape-{code}"
