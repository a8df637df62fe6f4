"""FIRE against its paper's formula, and the traps its users hit."""

from __future__ import annotations

import math

import pytest
import torch

from wordorder.positions import Fire, ModelShape, PositionError, TokenLayout
from wordorder.positions import fire as module
from wordorder.positions.conformance import check

CLOSE = 5e-6  # biases are float32, of size 10 here
SAME = 1e-12  # float64 on both sides, sums in another order


def dot(a: torch.Tensor, b: torch.Tensor) -> float:
    return sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))


def numbers_of(fire: Fire) -> dict[str, object]:
    """c, L and the weights as plain numbers."""
    first = fire.threshold or fire.shape.trained_length / 4
    return {
        "c": math.exp(fire.log_c.item()),
        "threshold": first * math.exp(fire.log_multiplier.item()),
        "into": fire.into.tolist(),
        "shift": fire.bias.tolist(),
    }


@pytest.mark.parametrize("heads", [1, 6, 12])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("options", [{}, {"threshold": 3.0}, {"hidden": 5, "c": 2.0}])
@pytest.mark.parametrize("plainly", [True, False])
def test_attention_is_the_papers(formula, lab, heads, causal, options, plainly) -> None:
    fire = lab.filled(Fire(ModelShape(heads, 4, trained_length=64, causal=causal), **options))
    q, k, v = (lab.numbers(heads, 6, 4, seed=seed) for seed in range(3))
    bias, given, out = formula("fire").bias, numbers_of(fire), fire.out.tolist()
    steps = torch.tensor([0, 1, 2, 5, 40, 300])
    for start in (0, 1000, 100_000):
        places = (start + steps).tolist()

        def score(h: int, i: int, j: int, places=places) -> float:
            product = dot(q[h][i], k[h][j]) / 2
            return product + bias(**given, out=out[h], i=places[i], j=places[j])

        expected = lab.softmax_rows(score, v.tolist(), causal)
        found = lab.attended(fire, q, k, v, positions=start + steps, plainly=plainly)
        torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


def by_grid(fire: Fire, positions: torch.Tensor) -> torch.Tensor:
    """The bias of every pair, (batch, heads, query, key)."""
    rows, time = positions.shape
    grid = (
        torch.arange(rows)[:, None, None, None],
        torch.arange(fire.shape.heads)[:, None, None],
        torch.arange(time)[:, None],
        torch.arange(time),
    )
    nothing = torch.zeros(rows, fire.shape.heads, time, time, dtype=fire.out.dtype)
    tables = fire.prepare(TokenLayout.of(positions))
    return fire.score(None, None, tables, None)(nothing, *grid)


def test_pieces_are_the_network_that_autograd_follows(lab) -> None:
    """More pairs than one piece holds, values and slopes, against the layers written out."""
    fire = lab.filled(Fire(ModelShape(5, 4))).double()
    x = lab.numbers(2, 150, 150).abs().requires_grad_()
    assert x[0].numel() > module.PIECE
    found = fire.network(x[:, None], torch.arange(5)[:, None, None])
    hidden = torch.relu(x[..., None] * fire.into + fire.bias)
    expected = (hidden @ fire.out.T).movedim(-1, 1)
    torch.testing.assert_close(found, expected, rtol=0, atol=SAME)
    weights = lab.numbers(*found.shape, seed=9)
    wanted = [x, fire.into, fire.bias, fire.out]
    ours = torch.autograd.grad((found * weights).sum(), wanted)
    theirs = torch.autograd.grad((expected * weights).sum(), wanted)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_rows_at_one_positions_are_worked_out_once(lab, monkeypatch) -> None:
    """Positions of one row stand for every sequence; rows of their own are worked out each."""
    fire, asked = lab.filled(Fire(ModelShape(3, 4))), []
    network = Fire.network

    def counted(self: Fire, x: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
        asked.append(x.numel())
        return network(self, x, head)

    monkeypatch.setattr(Fire, "network", counted)
    plain = torch.arange(9)[None]
    one = by_grid(fire, plain)
    apart = by_grid(fire, plain.repeat(4, 1))
    assert asked == [81, 4 * 81]
    torch.testing.assert_close(apart, one.expand_as(apart), rtol=0, atol=CLOSE)


def test_the_threshold_is_learned() -> None:
    """A query before it gives it a slope, one behind it none; and max, not min, is taken."""
    fire = Fire(ModelShape(2, 4), threshold=10.0)
    slope = {}
    for start in (0, 50):
        bias = by_grid(fire, torch.arange(start, start + 5)[None])
        slope[start] = float(torch.autograd.grad(bias.square().sum(), fire.log_multiplier)[0])
    assert slope[0] != 0 and slope[50] == 0


def test_the_divisor_is_the_querys_position(lab) -> None:
    """Not the length: what comes after a token does not change what it reads, and a shift does."""
    fire = lab.filled(Fire(ModelShape(2, 4), threshold=3.0))
    plain = by_grid(fire, torch.arange(12)[None])
    torch.testing.assert_close(by_grid(fire, torch.arange(7)[None]), plain[..., :7, :7])
    shifted = by_grid(fire, torch.arange(20, 32)[None])
    assert (shifted - plain).abs().max() > 0.01


def test_c_stays_positive() -> None:
    fire = Fire(ModelShape(2, 4))
    with torch.no_grad():
        fire.log_c.fill_(-30.0)
    bias = by_grid(fire, torch.arange(5)[None])
    assert torch.isfinite(bias).all() and bias.std() > 0


def test_both_sides_are_log_transformed(lab) -> None:
    """At distance i of query i behind the threshold the share is 1, whatever c is."""
    fire = lab.filled(Fire(ModelShape(2, 4), threshold=1.0))
    with torch.no_grad():
        fire.log_multiplier.zero_()
    biases = []
    for c in (0.01, 1.0, 50.0):
        with torch.no_grad():
            fire.log_c.fill_(math.log(c))
        biases.append(by_grid(fire, torch.arange(8)[None])[0, :, 2:, 0])
    torch.testing.assert_close(biases[0], biases[1])
    torch.testing.assert_close(biases[2], biases[1])


def test_first_values_are_those_of_the_papers_code() -> None:
    fire = Fire(ModelShape(600, 4, trained_length=2048))
    assert math.exp(fire.log_c.item()) == pytest.approx(0.1)
    assert numbers_of(fire)["threshold"] == 512
    assert fire.out.abs().max().item() == pytest.approx(32**-0.5, rel=0.01)
    assert fire.out.std().item() == pytest.approx(32**-0.5 / 3**0.5, rel=0.02)
    wide = Fire(ModelShape(1, 4), hidden=4000)
    for weight in (wide.into, wide.bias):
        assert weight.abs().max().item() == pytest.approx(1, rel=0.01)
        assert weight.std().item() == pytest.approx(3**-0.5, rel=0.05)


@pytest.mark.parametrize("name,value", [("hidden", 0), ("c", 0.0), ("threshold", -1.0)])
def test_refused(name, value) -> None:
    with pytest.raises(PositionError, match=f"{name}={value}") as caught:
        Fire(ModelShape(2, 4), **{name: value})
    assert caught.value.code == f"positions.fire-{name}"


@pytest.mark.parametrize(
    "spec", ["fire:threshold=4", pytest.param("fire:hidden=8,c=1", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("causal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_kit_holds(spec: str, causal: bool) -> None:
    report = check(spec, causal=causal)
    assert report.holds, str(report)
