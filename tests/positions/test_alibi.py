"""ALiBi against its paper's formula, and the traps its users hit."""

from __future__ import annotations

import pytest
import torch
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

from wordorder.positions import Alibi, ModelShape
from wordorder.positions.conformance import check

CLOSE = 2e-6  # biases are float32, of size 1 here


@pytest.mark.parametrize("heads", [1, 3, 6, 8, 12])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("plainly", [True, False])
def test_attention_is_the_papers(formula, lab, heads: int, causal: bool, plainly: bool) -> None:
    alibi = Alibi(ModelShape(heads, 4, causal=causal))
    q, k, v = (lab.numbers(heads, 5, 4, seed=seed) for seed in range(3))
    bias = formula("alibi").bias

    def score(h: int, i: int, j: int) -> float:
        product = sum(a * b for a, b in zip(q[h][i].tolist(), k[h][j].tolist(), strict=True))
        return product / 2 + bias(heads, h, i, j)

    expected = lab.softmax_rows(score, v.tolist(), causal)
    found = lab.attended(alibi, q, k, v, start=7, plainly=plainly)
    torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("start", [1000, 100_000])
@pytest.mark.parametrize("plainly", [True, False])
def test_far_positions_are_near_ones(formula, lab, start: int, plainly: bool) -> None:
    alibi = Alibi(ModelShape(6, 4))
    q, k, v = (lab.numbers(6, 5, 4, seed=seed) for seed in range(3))
    near = lab.attended(alibi, q, k, v, plainly=plainly)
    far = lab.attended(alibi, q, k, v, start=start, plainly=plainly)
    torch.testing.assert_close(far, near, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("heads", [4, 6, 8, 12])
def test_the_bias_is_blooms_and_mpts(heads: int) -> None:
    """Both leave out what is the same in a whole row: here, the distance of the last query."""
    time = 50
    ours = Alibi(ModelShape(heads, 4)).distance_bias(torch.arange(time - 1, -1, -1))
    bloom = build_alibi_tensor(torch.ones(1, time), heads, torch.float32)[:, 0]
    mpt = build_mpt_alibi_tensor(heads, time)[:, 0]
    torch.testing.assert_close(mpt, ours, rtol=1e-6, atol=0)
    torch.testing.assert_close(bloom - bloom[:, -1:], ours, rtol=1e-6, atol=CLOSE)


def test_head_counts_that_are_no_power_of_two() -> None:
    """Twelve heads have the slopes of eight and then every other one of sixteen."""
    found = Alibi(ModelShape(12, 4)).slopes().tolist()
    eight = [2.0**-n for n in range(1, 9)]
    sixteen = [2.0 ** (-n / 2) for n in range(1, 17)]
    assert found == pytest.approx(eight + sixteen[0:8:2])


def test_nearer_keys_are_preferred() -> None:
    """A flipped sign has every property of the kit."""
    bias = Alibi(ModelShape(6, 4)).distance_bias(torch.arange(9))
    assert (bias.diff(dim=1) < 0).all() and not bias[:, 0].any()


def test_the_bias_is_not_divided_by_the_root_of_the_head_size() -> None:
    """As Falcon does."""
    one, other = (Alibi(ModelShape(6, d)).distance_bias(torch.arange(9)) for d in (4, 64))
    assert torch.equal(one, other)


def test_a_bidirectional_model_gets_the_symmetric_form() -> None:
    bias = Alibi(ModelShape(6, 4, causal=False)).distance_bias(torch.arange(-9, 10))
    assert torch.equal(bias, bias.flip(1))


@pytest.mark.parametrize("causal", [True, False])
def test_the_kit_holds(causal: bool) -> None:
    report = check("alibi", causal=causal, heads=(6, 8, 1))
    assert report.holds, str(report)
