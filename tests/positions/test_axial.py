"""Axial rotary against its formula, other implementations, and the traps of grids."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.qwen2_vl import modeling_qwen2_vl
from transformers.models.qwen2_vl.configuration_qwen2_vl import (
    Qwen2VLTextConfig,
    Qwen2VLVisionConfig,
)
from transformers.models.qwen3_vl import modeling_qwen3_vl
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig

from wordorder.positions import Axial, ModelShape, PositionError, Rotary, TokenLayout, parse
from wordorder.positions.conformance import check

# Sines and cosines are float32, so scores of size 1 to 5 are off by a few 1e-7.
CLOSE = 2e-6
# References take their angles in float32.
THEIRS = 1e-5
APART = 0.1

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "base": {"base": 100.0},
    "columns": {"columns": 3},
    "sections": {"sections": (2.0, 1.0, 1.0)},
    "interleaved": {"sections": (2.0, 1.0, 1.0), "interleaved": True},
    "two-sections": {"sections": (1.0, 3.0), "columns": 2},
}


def owners(theirs: SimpleNamespace, dim: int, options: dict[str, Any]) -> list[tuple[int, float]]:
    """Return the coordinate and angle of each pair, as the formula has them."""
    base = options.get("base", 10000.0)
    if "sections" not in options:
        return theirs.halves(dim, base)
    counts = [int(pairs) for pairs in options["sections"]]
    return theirs.sections(dim, base, counts, options.get("interleaved", False))


def tables(axial: Axial, positions: Tensor) -> tuple[Tensor, Tensor]:
    rotation = axial.prepare(TokenLayout.of(positions))[0]
    return rotation.cosine[:, 0], rotation.sine[:, 0]


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("heads", [1, 6, 12])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("plainly", [True, False])
def test_attention_is_the_papers(
    formula, lab, options: dict[str, Any], heads: int, causal: bool, plainly: bool
) -> None:
    axial, theirs = Axial(ModelShape(heads, 8, causal=causal), **options), formula("axial")
    pairs, axes = owners(theirs, 8, options), len(options.get("sections", (0, 0)))
    q, k, v = (lab.numbers(heads, 5, 8, seed=seed) for seed in range(3))
    for start in (0, 1000, 100_000):
        plain = list(range(start, start + 5))
        places = [[p] * axes for p in plain]
        if "columns" in options:
            places = [list(divmod(p, options["columns"])) for p in plain]

        def score(h: int, i: int, j: int, places: list = places) -> float:
            where = places[i], places[j]
            return theirs.product(q[h][i].tolist(), k[h][j].tolist(), *where, pairs) / 8**0.5

        expected = lab.softmax_rows(score, v.tolist(), causal)
        found = lab.attended(axial, q, k, v, start=start, plainly=plainly)
        torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_coordinates_are_the_papers(formula, lab, options: dict[str, Any]) -> None:
    """Given as a last axis, far apart and out of step."""
    axes = len(options.get("sections", (0, 0)))
    axial, theirs = Axial(ModelShape(2, 8, causal=False), **options), formula("axial")
    places = torch.tensor([[0, 7, 3], [5, 5, 0], [1000, 2, 9], [100_000, 31, 8]])[:, :axes]
    q, k, v = (lab.numbers(2, 4, 8, seed=seed) for seed in range(3))
    pairs = owners(theirs, 8, options)

    def score(h: int, i: int, j: int) -> float:
        where = places[i].tolist(), places[j].tolist()
        return theirs.product(q[h][i].tolist(), k[h][j].tolist(), *where, pairs) / 8**0.5

    expected = lab.softmax_rows(score, v.tolist(), False)
    for plainly in (True, False):
        found = lab.attended(axial, q, k, v, positions=places, plainly=plainly)
        torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


# The plain one is in the catalogue.
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(
            each,
            id=name,
            marks=[] if name in ("interleaved", "two-sections") else pytest.mark.slow,
        )
        for name, each in OPTIONS.items()
    ],
)
def test_it_conforms(options: dict[str, Any]) -> None:
    report = check(Axial, **options)
    assert report.holds, str(report)


def test_it_is_written_on_the_command_line() -> None:
    assert parse("axial:columns=28").layers[0][0].options == (("columns", 28),)
    part = parse("axial:sections=[24,20,20],interleaved=true").layers[0][0]
    made = Axial(ModelShape(1, 128), **dict(part.options))
    assert made.axes == 3 and made.interleaved


# -- other implementations ----------------------------------------------------------------------


def grid(rows: int, columns: int) -> Tensor:
    """Return the cells of a grid, (1, rows * columns, 2)."""
    cells = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
    return cells[None]


@pytest.mark.parametrize("interleaved", [False, True])
def test_sections_are_qwens(interleaved: bool) -> None:
    """Its second version has runs, its third turns; its halves hold the same numbers twice."""
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [24, 20, 20]}
    shape = {"hidden_size": 256, "num_attention_heads": 2, "rope_parameters": rope}
    if interleaved:
        config = Qwen3VLTextConfig(head_dim=128, **shape)
        module = modeling_qwen3_vl.Qwen3VLTextRotaryEmbedding(config)
    else:
        module = modeling_qwen2_vl.Qwen2VLRotaryEmbedding(Qwen2VLTextConfig(**shape))
    places = torch.tensor([[[0, 0, 0], [1, 1, 1], [2, 3, 4], [2, 5, 9], [30, 31, 32]]])
    cosine, sine = module(torch.zeros(1, 5, 128), places.permute(2, 0, 1))
    axial = Axial(
        ModelShape(2, 128), base=1e6, sections=(24.0, 20.0, 20.0), interleaved=interleaved
    )
    found = tables(axial, places)
    torch.testing.assert_close(found[0], cosine[..., :64], rtol=0, atol=THEIRS)
    torch.testing.assert_close(found[1], sine[..., :64], rtol=0, atol=THEIRS)


def test_halves_are_qwens_vision() -> None:
    config = Qwen2VLVisionConfig(embed_dim=128, num_heads=2)
    module = modeling_qwen2_vl.Qwen2VLVisionRotaryEmbedding(config)
    cosine, sine = module(torch.zeros(1), grid(4, 7)[0])
    found = tables(Axial(ModelShape(2, 64), columns=7), torch.arange(28)[None])
    torch.testing.assert_close(found[0][0], cosine[:, :32], rtol=0, atol=THEIRS)
    torch.testing.assert_close(found[1][0], sine[:, :32], rtol=0, atol=THEIRS)


def test_halves_are_rotary_embedding_torchs(lab) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        there = pytest.importorskip("rotary_embedding_torch")
    x = lab.numbers(1, 2, 28, 32).float()
    angles = there.RotaryEmbedding(dim=16).get_axial_freqs(4, 7).flatten(0, 1)
    expected = there.apply_rotary_emb(angles, x)
    axial = Axial(ModelShape(2, 32))
    found = axial.transform_queries(x, axial.prepare(TokenLayout.of(grid(4, 7))), None)
    torch.testing.assert_close(found, expected, rtol=0, atol=THEIRS)


# -- traps ----------------------------------------------------------------------------------------


def test_columns_make_the_cells_of_a_grid() -> None:
    axial = Axial(ModelShape(1, 8), columns=7)
    plain, cells = torch.arange(28)[None], grid(4, 7)
    assert torch.equal(axial.coordinates(plain), cells)
    assert torch.equal(axial.coordinates(plain.double()), cells.double())
    assert all(map(torch.equal, tables(axial, plain), tables(axial, cells)))


@pytest.mark.parametrize("interleaved", [False, True])
def test_text_with_sections_is_rotary(interleaved: bool) -> None:
    """The same number in every coordinate; sections only matter where coordinates differ."""
    axial = Axial(ModelShape(1, 8), sections=(2.0, 1.0, 1.0), interleaved=interleaved)
    positions = torch.tensor([[0, 1, 5, 1000, 100_000]])
    rotation = Rotary(ModelShape(1, 8)).prepare(TokenLayout.of(positions))[0]
    assert torch.equal(tables(axial, positions)[0], rotation.cosine[:, 0])
    same = positions[..., None].expand(-1, -1, 3)
    assert torch.equal(tables(axial, same)[1], rotation.sine[:, 0])


def test_rows_and_columns_are_not_exchanged(lab) -> None:
    axial = Axial(ModelShape(1, 8))
    cells = grid(3, 3)
    assert (tables(axial, cells)[0] - tables(axial, cells.flip(-1))[0]).abs().max() > APART


def test_a_grid_moves_by_whole_rows_alone(lab) -> None:
    """So with columns it declares no shift invariance, and without it does."""
    q = lab.numbers(1, 1, 9, 8)

    def products(axial: Axial, shift: int) -> Tensor:
        turns = axial.prepare(TokenLayout.of(torch.arange(9)[None] + shift))
        return axial.transform_queries(q, turns, None) @ axial.transform_keys(q, turns, None).mT

    cells, plain = Axial(ModelShape(1, 8), columns=4), Axial(ModelShape(1, 8))
    assert cells.absolute and not cells.shift_invariant
    assert plain.shift_invariant and not plain.absolute
    torch.testing.assert_close(products(cells, 8), products(cells, 0), rtol=0, atol=CLOSE)
    torch.testing.assert_close(products(plain, 3), products(plain, 0), rtol=0, atol=CLOSE)
    assert (products(cells, 3) - products(cells, 0)).abs().max() > APART


@pytest.mark.parametrize(
    ("head_dim", "options", "code", "value"),
    [
        (6, {}, "head-size", "head size 6 "),
        (8, {"base": -1.0}, "base", "base=-1.0"),
        (8, {"columns": -1}, "columns", "columns=-1"),
        (8, {"sections": (2.0, 1.0)}, "sections", r"sections=\[2,1\]"),
        (8, {"sections": (2.5, 1.5)}, "sections", r"sections=\[2.5,1.5\]"),
        (8, {"interleaved": True}, "interleaved", "interleaved=true"),
        (8, {"sections": (2.0, 1.0, 1.0), "columns": 3}, "columns-sections", "columns=3 .* 3$"),
        (8, {"sections": (1.0, 3.0), "interleaved": True}, "section-too-large", "section 2 .* 3 "),
    ],
)
def test_what_cannot_be_is_refused(head_dim: int, options: dict, code: str, value: str) -> None:
    with pytest.raises(PositionError, match=value) as caught:
        Axial(ModelShape(1, head_dim), **options)
    assert caught.value.code == f"positions.axial-{code}"


def test_other_coordinates_are_refused() -> None:
    axial = Axial(ModelShape(1, 8))
    with pytest.raises(PositionError, match=r"3 coordinates.* 2 axes") as caught:
        axial.prepare(TokenLayout.of(torch.zeros(1, 4, 3)))
    assert caught.value.code == "positions.axial-coordinates"
