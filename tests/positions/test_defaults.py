"""Defaults that follow from the trained length: what they come to, and that any length will do."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from wordorder.positions import CATALOGUE, ModelShape, Position, PositionError, Sandwich, build
from wordorder.positions.conformance import check
from wordorder.positions.defaults import yarn_turns

LENGTHS = (1, 37, 1024)
MORE = [pytest.param(length, marks=pytest.mark.slow) for length in (8, 16, 37, 64, 128, 256, 1024)]
# What the kit cannot try: FIRE's threshold of a quarter of a token is below every position, that
# of 4 stands at a kink; of 4 positions no 9 are drawn.
UNTRIED = {("fire", 1), ("fire", 16), ("randomized", 1)}
# The kit reads 40 tokens: a table of fewer rows cannot.
ENDS = [name for name in CATALOGUE if build(name, ModelShape(4, 8)).max_position is not None]
# Those without such defaults are the same at any length.
TRIED = [
    pytest.param(name, marks=[] if kind.follows else pytest.mark.slow)
    for name, kind in CATALOGUE.items()
    if name not in ENDS
]
FOLLOWING = [
    pytest.param(name, each, id=f"{name}-{each.option}")
    for name, kind in CATALOGUE.items()
    for each in kind.follows
]
# Parameters of two axes or more that multiply no hidden states: looked up by position, or
# multiplied with what is, or filters, or a network on scores.
TABLES = {
    "learned": {"weight"},
    "shaw": {"weight"},
    "shaw-values": {"weight", "value_weight"},
    "transformer-xl": {"weight", "content_bias", "position_bias"},  # it multiplies sinusoids
    "deberta": {"table", "key_weight", "query_weight"},  # the two multiply the table
    "t5": {"weight"},
    "fire": {"out"},
    "relative": {"weight"},
    "cope": {"embeddings"},
    "dape": {"input_weight", "output_weight"},
    "path": {"convolution"},
    "pope": {"offsets"},
    "selective": {"convolution"},
    "fope": {"cosine_weights", "sine_weights"},  # they mix cosines and sines
    "grape": {"log_frequencies"},  # per head and plane
    "inkling": {"profiles"},  # looked up by distance
}


def made(name: str, trained: int, /, **options: Any) -> Position:
    return CATALOGUE[name](ModelShape(4, 8, trained_length=trained), **options)


@pytest.mark.parametrize(
    ("name", "option", "expected"),
    [
        ("rotary", "base", {64: 1250, 128: 2500, 256: 5000, 512: 10_000, 4096: 10_000}),
        ("t5", "max_distance", {1: 2, 8: 2, 37: 9, 64: 16, 128: 32, 512: 128, 2048: 128}),
        ("relative", "clip", {1: 1, 37: 9, 128: 32, 512: 128, 2048: 128}),
        ("deberta", "span", {1: 1, 37: 9, 128: 32, 512: 128, 2048: 128}),
        ("xpos", "base", {128: 2500, 4096: 10_000}),
        ("xpos", "scale_base", {1: 16, 64: 32, 128: 64, 1024: 512, 4096: 512}),
        ("axial", "base", {128: 2500, 4096: 10_000}),
        ("pope", "base", {128: 2500, 4096: 10_000}),
        ("fope", "base", {128: 2500, 4096: 10_000}),
        ("grape", "base", {128: 2500, 4096: 10_000}),
        ("repo", "base", {128: 2500, 4096: 10_000}),
        ("inkling", "extent", {1: 1, 64: 16, 8192: 1024}),
        ("self-extend", "base", {128: 2500, 4096: 10_000}),
    ],
)
def test_below_the_papers_length_in_proportion_and_then_the_papers(
    name: str, option: str, expected: dict[int, float]
) -> None:
    assert {n: made(name, n).resolved_options()[option] for n in expected} == expected
    assert CATALOGUE[name].options()[option] == 0


@pytest.mark.parametrize(("length", "turns"), [(2, 1.5), (256, 8), (4096, 32), (8192, 32)])
def test_yarns_ramp_follows_from_the_original_length(length: int, turns: float) -> None:
    assert yarn_turns(length) == turns
    yarn = {"scaling": "yarn", "factor": 4.0}
    for options in ({"original_length": length}, {}):
        own, given = (
            made("rotary", length if not options else 64, base=50.0, **yarn, **options, **more)
            for more in ({}, {"beta_fast": turns})
        )
        assert torch.equal(own.frequencies(), given.frequencies())
        assert own.resolved_options()["beta_fast"] == turns


@pytest.mark.parametrize(
    ("name", "each"), FOLLOWING, ids=lambda v: v if isinstance(v, str) else v[0]
)
def test_the_papers_value_is_one_option_away(name: str, each: Any) -> None:
    """What is asked for is kept, at any length, and nothing is left to follow."""
    if each.paper is None:
        assert each.rule
        return
    more = {"scaling": "yarn", "factor": 2.0} if each.option == "beta_fast" else {}
    for length in LENGTHS[1:]:  # yarn and the like need an original length above 1
        position = made(name, length, **{each.option: each.paper}, **more)
        assert (
            position.resolved_options()[each.option] == getattr(position, each.option) == each.paper
        )


@pytest.mark.parametrize("name", CATALOGUE)
def test_whatever_follows_is_said_shown_and_holds_written_out(name: str) -> None:
    """Each such option has a rule; with its number given, another length changes nothing."""
    position = made(name, 64)
    rules = {each.option for each in position.follows}
    assert set(position.resolved_options()) <= rules <= set(position.options())
    for option, value in position.resolved_options().items():
        assert f"{option}={value!r}" in repr(position)
    other = made(name, 256, **position.resolved_options())
    assert other.resolved_options() == position.resolved_options()
    assert [p.shape for p in other.parameters()] == [p.shape for p in position.parameters()]


@pytest.mark.parametrize("length", [1, *MORE])
@pytest.mark.parametrize("name", TRIED)
def test_it_conforms_at_any_trained_length(name: str, length: int) -> None:
    if (name, length) in UNTRIED:
        pytest.skip("the kit cannot try it at this length")
    spec = "self-extend:neighbours=3" if name == "self-extend" else name  # the kit reads 9 tokens
    report = check(spec, heads=(4,), trained_length=length)
    assert report.holds, str(report)


@pytest.mark.parametrize("length", [*range(1, 70), 128, 256, 1024])
def test_it_can_be_made_at_any_trained_length(length: int) -> None:
    for name in CATALOGUE:
        for causal in (True, False):
            try:
                build(name, ModelShape(4, 8, trained_length=length, causal=causal))
            except PositionError as error:
                assert not causal, error  # of those that are for causal models alone


def test_t5_tells_every_distance_apart_where_its_reach_is_short() -> None:
    """A quarter of 64 is no farther than the buckets of one distance go: each has its own."""
    for length, causal, reach in ((64, True, 16), (37, True, 9), (1, True, 2), (32, False, 8)):
        shape = ModelShape(1, 8, trained_length=length, causal=causal)
        t5 = CATALOGUE["t5"](shape)
        found = t5.bucket(torch.arange(200))
        assert found[:reach].tolist() == list(range(reach))
        assert found[reach:].unique().tolist() == [t5.side - 1]


def test_sandwich_of_few_heads_has_a_steep_one(formula) -> None:
    """From the paper's first of 12 to its last, in equal ratios; the paper's own from 12 on."""
    distances, bias = [0, 1, 3, 17, 1000], formula("sandwich").bias
    twelve = {h: [bias(12, h, n, 0, 128, 10000.0) for n in distances] for h in (0, 11)}
    for heads in (2, 4, 8, 11):
        found = Sandwich(ModelShape(heads, 8)).distance_bias(torch.tensor(distances))
        for head, own in ((0, found[0]), (11, found[-1])):
            expected = torch.tensor(twelve[head]) - twelve[head][0]
            torch.testing.assert_close(own, expected, rtol=1e-6, atol=0)
        steeper = found[1:, 1:] / found[:-1, 1:]
        torch.testing.assert_close(steeper, steeper[:1, :1].expand_as(steeper), rtol=1e-6, atol=0)
    for heads in (12, 16):
        own, paper = (Sandwich(ModelShape(heads, 8), scales=s) for s in ("auto", "even"))
        assert own.divisors == paper.divisors == tuple(8 * n / heads for n in range(1, heads + 1))
    alone = Sandwich(ModelShape(1, 8)).divisors
    assert alone == pytest.approx([(8 * 8 / 12) ** 0.5])
    with pytest.raises(PositionError, match=r"'odd': .*auto or even or geometric") as caught:
        Sandwich(ModelShape(2, 8), scales="odd")
    assert caught.value.code == "positions.sandwich-scales"


def test_dape_corrects_the_bias_that_its_paper_finds_best() -> None:
    assert made("dape", 64).bias == "kerple"


@pytest.mark.parametrize("name", CATALOGUE)
def test_what_has_two_axes_is_declared_a_matrix_or_known_as_a_table(name: str) -> None:
    options = {"gate": True} if name == "selective" else {}
    position = made(name, 64, **options)
    wide = {n for n, p in position.named_parameters() if p.dim() > 1}
    assert wide - set(position.matrices) == TABLES.get(name, set())
    for matrix in position.matrices:
        rows = getattr(position, matrix).shape
        assert min(rows[-2:]) >= 4, "a matrix of a single row has one direction"


def test_a_matrix_that_is_none_is_told() -> None:
    class Declared(Position):
        matrices = ("weight",)

    found = check(Declared, only=("facts",)).findings[0]
    assert found.holds is False and "weight is not a parameter of shape" in found.detail
