"""Inkling's relative bias against its formula, transformers, x-transformers, and its traps."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor

from wordorder.positions import Inkling, ModelShape, PositionError, TokenLayout, index_grid
from wordorder.positions.conformance import check

# Everything is float64, except for the values of the expected rows.
CLOSE = 1e-6
# The references compute in float32.
FLOAT32 = 5e-6


def profiles_of(position: Inkling) -> list[dict[int, float]]:
    """Return each profile as a number by distance."""
    most, least = position.resolved_extent - 1, position.nearest
    return [
        dict(zip(range(most, least - 1, -1), row, strict=True))
        for row in position.profiles.tolist()
    ]


def bias_of(position: Inkling, x: Tensor, positions: Tensor | None = None) -> Tensor:
    """Return what is added to all scores, (batch, heads, query, key)."""
    batch, time, _ = x.shape
    plain = torch.arange(time) if positions is None else positions
    layout = TokenLayout.of(
        plain[None], causal=position.shape.causal, consecutive=positions is None
    )
    state, tables = position.state(x, layout, None), position.prepare(layout)
    queries = torch.zeros(batch, position.shape.heads, time, position.shape.head_dim, dtype=x.dtype)
    zeros = torch.zeros(batch, position.shape.heads, time, time, dtype=x.dtype)
    score = position.score(queries, queries, tables, state)
    return score(zeros, *index_grid(zeros, torch.arange(time))).detach()


@pytest.mark.parametrize("heads", [1, 6])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("extent", [1, 3, 40])
@pytest.mark.parametrize("plainly", [True, False])
def test_attention_is_the_formula(formula, lab, heads, causal, extent, plainly) -> None:
    position = lab.filled(Inkling(ModelShape(heads, 4, causal=causal), rank=2, extent=extent))
    q, k, v = (lab.numbers(heads, 6, 4, seed=seed) for seed in range(3))
    x = lab.numbers(6, 4 * heads, seed=3)
    weights, profiles = position.weight.unflatten(0, (heads, 2)).tolist(), profiles_of(position)
    bias = formula("inkling").bias
    for given in (None, torch.tensor([0, 1, 2, 5, 40, 300]), torch.arange(6) + 1_000_000):
        places = list(range(6)) if given is None else given.tolist()

        def score(h: int, i: int, j: int, places: list[int] = places) -> float:
            product = sum(a * b for a, b in zip(q[h][i].tolist(), k[h][j].tolist(), strict=True))
            added = bias(weights[h], profiles, x[i].tolist(), places[i], places[j], extent, causal)
            return product / 2 + added

        expected = lab.softmax_rows(score, v.tolist(), causal)
        output = lab.attended(position, q, k, v, positions=given, x=x, plainly=plainly)
        torch.testing.assert_close(output, expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("extent", [5, 64])
def test_bias_is_that_of_transformers(lab, extent: int) -> None:
    there = pytest.importorskip("transformers.models.inkling.modeling_inkling")
    position = lab.filled(Inkling(ModelShape(3, 4), rank=4, extent=extent))
    theirs = there.InklingRelativeLogits(4, extent)
    x, places = lab.numbers(2, 20, 12).float(), torch.arange(20)
    with torch.no_grad():
        theirs.proj.copy_(position.profiles.flip(1))
        states = (x @ position.weight.T).unflatten(-1, (3, 4))
        expected = theirs(states, places, places)
    seen = torch.ones(20, 20, dtype=torch.bool).tril()
    for given in (None, places):
        output = bias_of(position, x, given)
        torch.testing.assert_close(output[..., seen], expected[..., seen], rtol=0, atol=FLOAT32)


def test_bias_is_that_of_x_transformers(lab) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        there = pytest.importorskip("x_transformers.x_transformers")
    position = lab.filled(Inkling(ModelShape(3, 4), rank=4, extent=7))
    theirs = there.RelativeProjPositionalBias(12, 3, num_distance_basis=4, max_dist=7)
    x = lab.numbers(2, 20, 12).float()
    with torch.no_grad():
        theirs.to_distance_weights[0].weight.copy_(position.weight)
        theirs.to_distance_weights[0].bias.zero_()
        theirs.distance_bank.copy_(position.profiles.flip(1))
        expected = theirs(x)
    seen = torch.ones(20, 20, dtype=torch.bool).tril()
    output = bias_of(position, x)
    torch.testing.assert_close(output[..., seen], expected[..., seen], rtol=0, atol=FLOAT32)


@pytest.mark.parametrize(
    "spec",
    [
        "inkling:extent=3,rank=2",
        pytest.param("rotary+inkling", marks=pytest.mark.slow),
        "inkling/none",
    ],
)
@pytest.mark.parametrize("causal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_it_conforms(spec: str, causal: bool) -> None:
    report = check(spec, causal=causal)
    assert report.holds, str(report)


# -- traps ------------------------------------------------------------------------------------


def test_past_the_extent_is_nothing(lab) -> None:
    position = lab.filled(Inkling(ModelShape(2, 4), extent=4))
    for given in (None, torch.arange(9)):
        bias = bias_of(position, lab.numbers(1, 9, 8), given)[0, 0]
        distance = torch.arange(9)[:, None] - torch.arange(9)
        assert not bias[distance >= 4].any()
        assert (bias[(distance >= 0) & (distance < 4)] != 0).all()


def test_the_weights_come_from_the_hidden_state_not_the_query(lab) -> None:
    position = lab.filled(Inkling(ModelShape(2, 4), extent=4))
    x = lab.numbers(1, 5, 8)
    layout = TokenLayout.of(torch.arange(5)[None], consecutive=True)
    state, tables = position.state(x, layout, None), position.prepare(layout)
    zeros = torch.zeros(1, 2, 5, 5, dtype=torch.float64)
    grid = index_grid(zeros, torch.arange(5))
    one, other = (
        position.score(q, q, tables, state)(zeros, *grid)
        for q in (lab.numbers(1, 2, 5, 4), lab.numbers(1, 2, 5, 4, seed=7))
    )
    assert torch.equal(one, other)


def test_the_extent_follows_from_the_trained_length() -> None:
    for length, extent in ((1, 1), (64, 16), (256, 64), (4096, 1024), (100_000, 1024)):
        position = Inkling(ModelShape(2, 4, trained_length=length))
        assert position.resolved_options() == {"extent": extent}
        assert position.profiles.shape == (16, extent)
    both = Inkling(ModelShape(2, 4, causal=False), extent=8)
    assert both.profiles.shape == (16, 15)


def test_first_values() -> None:
    position = Inkling(ModelShape(6, 64))
    for parameter in (position.weight, position.profiles):
        assert float(parameter.detach().std()) == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize(
    ("options", "code"),
    [({"rank": 0}, "positions.inkling-rank"), ({"extent": -1}, "positions.inkling-extent")],
)
def test_bad_options_are_refused(options: dict, code: str) -> None:
    with pytest.raises(PositionError) as caught:
        Inkling(ModelShape(2, 4), **options)
    assert caught.value.code == code
