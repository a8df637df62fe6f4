"""RePo against its paper's formula, rotary, and its users' traps."""

from __future__ import annotations

import pytest
import torch

from wordorder.positions import ModelShape, PositionError, Repo, Rotary, TokenLayout
from wordorder.positions.conformance import check

CLOSE = 1e-12  # everything here is float64
WIDTH = 16


def made(lab, heads: int = 2, causal: bool = True, **options) -> Repo:
    """Return one whose positions are several units apart, the same at every call."""
    position = lab.drawn(Repo(ModelShape(heads, 4, WIDTH, causal=causal), **options)).double()
    with torch.no_grad():
        position.out.mul_(20)
    return position


@pytest.mark.parametrize("options", [{}, {"base": 100.0}, {"inner": 3}])
@pytest.mark.parametrize("heads", [1, 6])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("plainly", [True, False])
def test_attention_is_the_papers(formula, lab, options, heads, causal, plainly) -> None:
    position, paper = made(lab, heads, causal, **options), formula("repo")
    q, k, v = (lab.numbers(heads, 7, 4, seed=seed) for seed in range(3))
    x = lab.numbers(7, WIDTH, seed=9)
    weights = (position.gate.tolist(), position.content.tolist(), position.out.tolist())
    places = [paper.places(row, *weights) for row in x.tolist()]
    assert max(p for row in places for p in row) - min(p for row in places for p in row) > 3

    def score(h: int, i: int, j: int) -> float:
        here, there = places[i][h], places[j][h]
        return paper.score(q[h][i].tolist(), k[h][j].tolist(), here, there, position.resolved_base)

    expected = lab.softmax_rows(score, v.tolist(), causal)
    for start in (0, 100_000):
        output = lab.attended(position, q, k, v, x=x, start=start, plainly=plainly)
        torch.testing.assert_close(output, expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize(
    "spec",
    ["repo:inner=3,base=100", pytest.param("rotary/repo", marks=pytest.mark.slow), "repo+alibi"],
)
@pytest.mark.parametrize("causal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_it_conforms(spec: str, causal: bool) -> None:
    """With as many key heads as query heads; the catalogue's own has half as many."""
    report = check(spec, heads=(3,), causal=causal)
    assert report.holds, str(report)


def test_at_the_places_in_the_sequence_it_is_rotary(lab) -> None:
    position = Repo(ModelShape(2, 8, WIDTH, trained_length=64))
    q, k, v = (lab.numbers(2, 9, 8, seed=seed) for seed in range(3))
    x = torch.zeros(9, WIDTH, dtype=torch.float64)
    x[:, 0], x[:, 1] = torch.arange(9), 1.0
    with torch.no_grad():
        for weight in (position.gate, position.content, position.out):
            weight.zero_()
        # silu(50) is 50, so the first of the network's numbers is 50 times the place.
        position.gate[0, 1], position.content[0, 0], position.out[:, 0] = 50.0, 1.0, 1 / 50
    expected = lab.attended(Rotary(ModelShape(2, 8, WIDTH, trained_length=64)), q, k, v)
    output = lab.attended(position, q, k, v, x=x)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)


# -- traps ------------------------------------------------------------------------------------


def test_equal_tokens_stand_at_one_place_wherever_they_are(lab) -> None:
    position, layout = made(lab), TokenLayout.of(torch.tensor([[0, 5, 900]]))
    x = lab.numbers(1, 1, WIDTH).expand(1, 3, WIDTH)
    (places,) = position.state(x, layout, None)
    assert places.shape == (1, 3, 2) and torch.equal(places[:, :1].expand(1, 3, 2), places)


def test_places_are_exact_in_bfloat16(lab) -> None:
    """Rounded, 300.5 would be 300."""
    position = made(lab).float()
    layout = TokenLayout.of(torch.arange(5)[None])
    x = lab.numbers(1, 5, WIDTH).bfloat16()
    assert position.state(x, layout, None)[0].dtype == torch.float32
    queries = lab.numbers(1, 2, 5, 4).bfloat16()
    state = position.state(x, layout, None)
    assert position.transform_queries(queries, position.prepare(layout), state).dtype == x.dtype


def test_every_weight_gets_a_gradient_and_is_trained_as_a_matrix(lab) -> None:
    position = made(lab)
    layout = TokenLayout.of(torch.arange(5)[None])
    state = position.state(lab.numbers(1, 5, WIDTH), layout, None)
    turned = position.transform_keys(lab.numbers(1, 2, 5, 4), position.prepare(layout), state)
    (turned * lab.numbers(1, 2, 5, 4, seed=1)).sum().backward()
    names = {name for name, p in position.named_parameters() if p.grad is not None and p.grad.any()}
    assert names == set(position.matrices) == {"gate", "content", "out"}


def test_the_network_is_an_eighth_as_wide() -> None:
    assert Repo(ModelShape(2, 8, 64)).gate.shape == (8, 64)
    assert Repo(ModelShape(2, 8, 64), inner=5).out.shape == (2, 5)
    assert Repo(ModelShape(1, 4, 4)).gate.shape == (1, 4)


@pytest.mark.parametrize(
    ("head_dim", "options", "code"),
    [(7, {}, "head-size"), (8, {"base": -1.0}, "option"), (8, {"inner": -1}, "option")],
)
def test_bad_options_are_refused(head_dim: int, options: dict, code: str) -> None:
    with pytest.raises(PositionError) as caught:
        Repo(ModelShape(2, head_dim, WIDTH), **options)
    assert caught.value.code == f"positions.repo-{code}"
