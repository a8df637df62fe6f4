"""The table of clipped distances against its formula, and the traps its users hit."""

from __future__ import annotations

import pytest
import torch

from wordorder.positions import ModelShape, PositionError, Relative, build
from wordorder.positions.conformance import check

CLOSE = 2e-6  # the table is float32, of size 1 here


def dot(a: torch.Tensor, b: torch.Tensor) -> float:
    return sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))


@pytest.mark.parametrize("heads", [1, 6, 12])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("clip", [1, 3, 128])
@pytest.mark.parametrize("plainly", [True, False])
def test_attention_is_the_papers(formula, lab, heads, causal, clip, plainly) -> None:
    relative = lab.filled(Relative(ModelShape(heads, 4, causal=causal), clip=clip))
    q, k, v = (lab.numbers(heads, 6, 4, seed=seed) for seed in range(3))
    entry, table = formula("relative").entry, relative.weight.tolist()
    steps = torch.tensor([0, 1, 2, 5, 40, 300])

    def rows(places: list[int]) -> torch.Tensor:
        def score(h: int, i: int, j: int) -> float:
            bias = entry(table[h], places[i], places[j], clip, causal)
            return dot(q[h][i], k[h][j]) / 2 + bias

        return lab.softmax_rows(score, v.tolist(), causal)

    for start in (0, 1000, 100_000):
        found = lab.attended(relative, q, k, v, positions=start + steps, plainly=plainly)
        expected = rows((start + steps).tolist())
        torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)
        found = lab.attended(relative, q, k, v, start=start, plainly=plainly)
        expected = rows(list(range(start, start + 6)))
        torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


def test_clipping_is_at_k(lab) -> None:
    relative = lab.filled(Relative(ModelShape(2, 4, causal=False), clip=3))
    bias = relative.distance_bias(torch.arange(-6, 7))
    assert torch.equal(bias[:, :4], bias[:, :1].expand(2, 4))
    assert torch.equal(bias[:, 9:], bias[:, -1:].expand(2, 4))
    assert len(bias[0].unique()) == 7


def test_between_two_distances_the_nearer_counts(lab) -> None:
    relative = lab.filled(Relative(ModelShape(2, 4, causal=False), clip=3))
    between = relative.distance_bias(torch.tensor([1.6, -2.4]))
    assert torch.equal(between, relative.distance_bias(torch.tensor([2, -2])))


def test_before_is_not_after(lab) -> None:
    relative = lab.filled(Relative(ModelShape(2, 4, causal=False), clip=3))
    assert torch.equal(relative.distance_bias(torch.tensor([2])), relative.weight[:, 5:6])
    assert torch.equal(relative.distance_bias(torch.tensor([-2])), relative.weight[:, 1:2])


def test_a_causal_table_has_no_entries_for_the_future() -> None:
    assert Relative(ModelShape(6, 4)).weight.shape == (6, 129)
    assert Relative(ModelShape(6, 4, causal=False)).weight.shape == (6, 257)
    assert len(build("relative", ModelShape(6, 4, layers=3)).instances) == 3


def test_a_negative_clip_is_refused() -> None:
    with pytest.raises(PositionError) as caught:
        Relative(ModelShape(2, 4), clip=-1)
    assert caught.value.code == "positions.relative-clip"
    assert "clip=-1" in str(caught.value)


@pytest.mark.parametrize("spec", ["relative:clip=3"])
@pytest.mark.parametrize("causal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_kit_holds(spec: str, causal: bool) -> None:
    report = check(spec, causal=causal)
    assert report.holds, str(report)
