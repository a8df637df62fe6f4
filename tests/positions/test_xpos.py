"""xPos against its paper's formula, other implementations, and the traps its users hit."""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from wordorder.positions import ModelShape, PositionError, Rotary, TokenLayout, XPos
from wordorder.positions.composed import Composed
from wordorder.positions.conformance import check
from wordorder.positions.reference_model import ReferenceCache, ReferenceModel
from wordorder.positions.spec import Part, Spec

# Sines, cosines and scales are float32, so scores of size 1 to 5 are off by a few 1e-7.
CLOSE = 2e-6
# References take their angles in float32, and one its scales from another centre.
THEIRS = 2e-4
APART = 1e-2

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "fast": {"scale_base": 3.0},
    "other": {"base": 500.0, "scale_base": 20.0, "gamma": 1.5},
}


def imported(name: str) -> ModuleType:
    """Return a reference, without what it is warned of while it is imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name)


def products(xpos: XPos, q: Tensor, k: Tensor, positions: Tensor, first: int = 0) -> Tensor:
    """Return q . k after turning, of the queries from the `first` on and all keys."""
    layout = TokenLayout(positions[:, first:], positions, torch.arange(first, positions.shape[1]))
    tables = xpos.prepare(layout)
    return (
        xpos.transform_queries(q[:, :, first:], tables, None)
        @ xpos.transform_keys(k, tables, None).mT
    )


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("heads", [1, 6, 12])
@pytest.mark.parametrize("plainly", [True, False])
def test_attention_is_the_papers(
    formula, lab, options: dict[str, Any], heads: int, plainly: bool
) -> None:
    xpos, product = XPos(ModelShape(heads, 8), **options), formula("xpos").product
    q, k, v = (lab.numbers(heads, 5, 8, seed=seed) for seed in range(3))

    def score(h: int, i: int, j: int) -> float:
        return product(q[h][i].tolist(), k[h][j].tolist(), i, j, **options) / 8**0.5

    expected = lab.softmax_rows(score, v.tolist(), True)
    for start in (0, 1000, 100_000):
        found = lab.attended(xpos, q, k, v, start=start, plainly=plainly)
        torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


# The plain one is in the catalogue.
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(each, id=name, marks=[] if name == "other" else pytest.mark.slow)
        for name, each in OPTIONS.items()
    ],
)
def test_it_conforms(options: dict[str, Any]) -> None:
    report = check(XPos, **options)
    assert report.holds, str(report)


def test_it_is_x_transformers(lab) -> None:
    there = imported("x_transformers.x_transformers")
    q, k = lab.numbers(2, 1, 1, 9, 16).float().unbind()
    module = there.RotaryEmbedding(16, use_xpos=True, scale_base=20)
    angles, scale = module(torch.arange(9))
    expected = (
        there.apply_rotary_pos_emb(q, angles, scale)
        @ there.apply_rotary_pos_emb(k, angles, scale**-1.0).mT
    )
    found = products(XPos(ModelShape(1, 16), scale_base=20.0), q, k, torch.arange(9)[None])
    torch.testing.assert_close(found, expected, rtol=0, atol=THEIRS)


def test_it_is_rotary_embedding_torch(lab) -> None:
    there = imported("rotary_embedding_torch")
    q, k = lab.numbers(2, 1, 1, 9, 16).float().unbind()
    module = there.RotaryEmbedding(dim=16, use_xpos=True, xpos_scale_base=20)
    queries, keys = module.rotate_queries_and_keys(q, k)
    found = products(XPos(ModelShape(1, 16), scale_base=20.0), q, k, torch.arange(9)[None])
    torch.testing.assert_close(found, queries @ keys.mT, rtol=0, atol=THEIRS)


# -- traps ------------------------------------------------------------------------------------


def test_keys_take_the_inverse_scale(lab) -> None:
    """So that a product falls with distance; without scales it is rotary's."""
    q = torch.tensor([0.0, 0, 1, 1, 1, 1, 1, 1]).expand(1, 1, 400, 8)  # the first pair turns
    positions = torch.arange(400)[None]
    still = products(XPos(ModelShape(1, 8), base=1e30, scale_base=50.0), q, q, positions)[0, 0]
    last = still[-1]
    assert (last.diff() > 0).all()  # nearer is more
    assert float(last[-1]) == pytest.approx(6.0, abs=1e-5)
    q, k = lab.numbers(2, 1, 1, 9, 8).unbind()
    slow = products(XPos(ModelShape(1, 8), scale_base=1e12), q, k, positions[:, :9])
    rotary = Rotary(ModelShape(1, 8))
    tables = rotary.prepare(TokenLayout.of(positions[:, :9]))
    expected = rotary.transform_queries(q, tables, None) @ rotary.transform_keys(k, tables, None).mT
    torch.testing.assert_close(slow, expected, rtol=0, atol=CLOSE)


def test_it_does_not_overflow_far_from_the_start(formula, lab) -> None:
    """About a fixed centre a scale would be 10^106 at 100,000; only differences count here."""
    xpos, product = XPos(ModelShape(1, 8)), formula("xpos").product
    q, k = lab.numbers(2, 1, 1, 6, 8).float().unbind()
    for positions in (
        torch.tensor([[0, 1, 2, 100_000, 100_300, 101_000]]),
        torch.tensor([[0, 500, 40_000, 999_000, 999_990, 1_000_000]]),
    ):
        found = products(xpos, q, k, positions, first=3)[0, 0]  # the first three are in a cache
        assert found.isfinite().all()
        for i, m in enumerate(positions[0, 3:].tolist()):
            for j, n in enumerate(positions[0, : 4 + i].tolist()):
                expected = product(q[0, 0, 3 + i].tolist(), k[0, 0, j].tolist(), m, n)
                assert float(found[i, j]) == pytest.approx(expected, abs=CLOSE)


def test_up_to_its_bound_all_is_finite_and_what_is_seen_is_right(formula, lab) -> None:
    xpos, product = XPos(ModelShape(1, 8)), formula("xpos").product
    assert 32_000 < xpos.widest < 33_000
    q, k = 10 * lab.numbers(2, 1, 6, 8).float()
    positions = torch.linspace(7, 7 + xpos.widest, 6).round().long()[None]
    found = products(xpos, q[None], k[None], positions)[0, 0]
    assert found.isfinite().all()
    for i, m in enumerate(positions[0].tolist()):
        for j, n in enumerate(positions[0, : i + 1].tolist()):
            expected = product(q[0, i].tolist(), k[0, j].tolist(), m, n)
            assert float(found[i, j]) == pytest.approx(expected, abs=1e-4)  # products of 100


def test_past_its_bound_it_says_so() -> None:
    xpos = XPos(ModelShape(1, 8), scale_base=5.0)
    positions = torch.tensor([[3, 3 + xpos.widest]])
    xpos.prepare(TokenLayout.of(positions))
    with pytest.raises(PositionError, match="320 positions") as caught:
        xpos.prepare(TokenLayout.of(positions + torch.tensor([[0, 1]])))
    assert caught.value.code == "positions.xpos-span"


def test_padding_has_no_part_in_the_centre(lab) -> None:
    """Padding at 0 beside a text at 100,000 is not read at once with it."""
    xpos = XPos(ModelShape(1, 8))
    positions = torch.tensor([[0, 0, 100_000, 100_001], [5, 6, 7, 8], [0, 0, 0, 0]])
    documents = torch.tensor([[-1, -1, 0, 0], [0, 0, 0, 0], [-1, -1, -1, -1]])
    tables = xpos.prepare(TokenLayout.of(positions, documents))
    alone = xpos.prepare(TokenLayout.of(positions[:1, 2:]))
    for found, expected in zip(tables, alone, strict=True):
        assert found.cosine.isfinite().all() and found.sine.isfinite().all()
        torch.testing.assert_close(found.cosine[:1, :, 2:], expected.cosine)


def test_keys_are_not_kept_about_an_older_centre(lab) -> None:
    """Read token by token, far past what one reading could hold, it is what the formula says."""
    shape = ModelShape(2, 8, layers=2)
    spec = Spec(((Part("xpos", (("scale_base", 0.5),)),),))
    model = ReferenceModel(Composed(list(spec.layers) * 2, shape, {"xpos": XPos}), 2)
    assert not model.position.sums[0].static_rotation
    widest = model.position.instances[0].widest
    x = lab.numbers(1, 3 * widest, 16)
    past = ReferenceCache()
    found = torch.cat([model.read(piece, cache=past) for piece in x.tensor_split(6, 1)], 1)
    past = ReferenceCache()
    single = torch.cat([model.read(piece, cache=past) for piece in x.split(1, 1)], 1)
    torch.testing.assert_close(found, single, rtol=0, atol=2e-5)
    with pytest.raises(PositionError) as caught:
        model.read(x)
    assert caught.value.code == "positions.xpos-span"


@pytest.mark.parametrize(
    ("shape", "options", "code"),
    [
        (ModelShape(1, 7), {}, "head-size"),
        (ModelShape(1, 8, causal=False), {}, "bidirectional"),
        (ModelShape(1, 8), {"gamma": 0.0}, "gamma"),
        (ModelShape(1, 8), {"scale_base": -1.0}, "base"),
    ],
)
def test_what_cannot_be_is_refused(shape: ModelShape, options: dict, code: str) -> None:
    with pytest.raises(PositionError) as caught:
        XPos(shape, **options)
    assert caught.value.code == f"positions.xpos-{code}"
    assert all(f"{name}={value}" in str(caught.value) for name, value in options.items())
