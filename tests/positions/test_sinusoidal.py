"""Sinusoids against their paper's formula, against transformers, and the traps of their layout."""

from __future__ import annotations

import pytest
import torch
from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding
from transformers.models.xglm.modeling_xglm import XGLMSinusoidalPositionalEmbedding

from wordorder.positions import ModelShape, PositionError, Sinusoidal, TokenLayout, build
from wordorder.positions.conformance import check

CLOSE = 1e-7  # one rounding to float32 of numbers up to 1
THEIRS = 2e-4  # angles up to 500 in float32


def embedded(position: Sinusoidal, positions: list[int]) -> torch.Tensor:
    x = torch.zeros(1, len(positions), position.shape.width)
    return position.embed(x, TokenLayout.of(torch.tensor([positions])))[0].detach()


@pytest.mark.parametrize("heads", [1, 6, 12])
@pytest.mark.parametrize("base", [10000.0, 30.0])
def test_the_input_is_the_papers(formula, heads: int, base: float) -> None:
    sinusoidal = Sinusoidal(ModelShape(heads, 4), base=base)
    positions = [0, 1, 2, 63, 1000, 100_000, 1_000_000]
    expected = [formula("sinusoidal").embedding(p, 4 * heads, base) for p in positions]
    found = embedded(sinusoidal, positions)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=CLOSE)


def test_it_is_added_to_the_words(lab) -> None:
    sinusoidal, x = Sinusoidal(ModelShape(2, 4)), lab.numbers(3, 5, 8)
    found = sinusoidal.embed(x, TokenLayout.of(torch.arange(5)[None]))
    table = embedded(sinusoidal, [0, 1, 2, 3, 4])
    torch.testing.assert_close(found - x, table.double().expand(3, 5, 8), rtol=0, atol=1e-12)


def test_interleaved_or_in_halves_is_the_same_information() -> None:
    """Marian has all sines first: its table is this one with its columns sorted."""
    theirs = MarianSinusoidalPositionalEmbedding(500, 24).create_weight()
    ours = embedded(Sinusoidal(ModelShape(6, 4)), list(range(500)))
    halves = torch.cat((ours[:, 0::2], ours[:, 1::2]), 1)
    torch.testing.assert_close(halves, theirs, rtol=0, atol=CLOSE)
    assert (ours - theirs).abs().max() > 1


def test_the_exponent_of_fairseq_is_another_one() -> None:
    """XGLM divides by width/2 - 1: only its first frequency, and the last at the base, agree."""
    theirs = XGLMSinusoidalPositionalEmbedding.get_embedding(500, 24)
    ours = embedded(Sinusoidal(ModelShape(6, 4)), list(range(500)))
    halves = torch.cat((ours[:, 0::2], ours[:, 1::2]), 1)
    torch.testing.assert_close(halves[:, 0], theirs[:, 0], rtol=0, atol=THEIRS)
    assert (halves[:, 1] - theirs[:, 1]).abs().max() > 1
    stretched = Sinusoidal(ModelShape(6, 4), base=10000.0 ** (12 / 11))
    ours = embedded(stretched, list(range(500)))
    halves = torch.cat((ours[:, 0::2], ours[:, 1::2]), 1)
    torch.testing.assert_close(halves, theirs, rtol=0, atol=THEIRS)


def test_a_learned_scale_starts_at_what_is_fixed_and_multiplies(lab) -> None:
    fixed, learned = (Sinusoidal(ModelShape(2, 4), learned_scale=s) for s in (False, True))
    assert not list(fixed.parameters())
    assert [p.shape for p in learned.parameters()] == [torch.Size(())]
    positions = [0, 5, 1000]
    assert torch.equal(embedded(learned, positions), embedded(fixed, positions))
    with torch.no_grad():
        learned.scale.fill_(0.25)
    assert torch.equal(embedded(learned, positions), 0.25 * embedded(fixed, positions))


def test_one_scale_serves_the_model() -> None:
    made = build("sinusoidal:learned_scale=true+alibi", ModelShape(6, 4, layers=3))
    assert sum(p.numel() for p in made.parameters()) == 1


@pytest.mark.parametrize("factor", [1.0, 1.5, 4.0])
def test_a_factor_divides_positions(formula, factor: float) -> None:
    """A text that many times longer spans the positions that were trained."""
    stretched = Sinusoidal(ModelShape(6, 4), factor=factor)
    positions = [0, 1, 2, 7, 1000, 1_000_000]
    expected = [formula("sinusoidal").embedding(p / factor, 24, 10000.0) for p in positions]
    found = embedded(stretched, positions)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=CLOSE)
    if factor == 4:
        trained = embedded(Sinusoidal(ModelShape(6, 4)), [0, 1, 2, 3])
        assert torch.equal(embedded(stretched, [0, 4, 8, 12]), trained)


@pytest.mark.parametrize(
    "shape,options,code,value",
    [
        (ModelShape(1, 3), {}, "width", "width 3 "),
        (ModelShape(1, 4), {"base": 1.0}, "base", "base=1.0"),
        (ModelShape(1, 4), {"factor": 0.5}, "factor", "factor=0.5"),
    ],
)
def test_refused(shape, options, code, value) -> None:
    with pytest.raises(PositionError, match=value) as caught:
        Sinusoidal(shape, **options)
    assert caught.value.code == f"positions.sinusoidal-{code}"


@pytest.mark.parametrize(
    "spec",
    ["sinusoidal:base=30", "sinusoidal:learned_scale=true", "sinusoidal:factor=4"],
)
@pytest.mark.parametrize("causal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_kit_holds(spec: str, causal: bool) -> None:
    report = check(spec, causal=causal)
    assert report.holds, str(report)
