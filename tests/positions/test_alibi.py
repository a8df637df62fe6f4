"""ALiBi against its paper's formula, and the traps its users hit."""

from __future__ import annotations

import pytest
import torch
from random_weights import filled
from torch import Tensor
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.falcon import modeling_falcon
from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

from wordorder.model import LanguageModel, ModelConfig
from wordorder.positions import Alibi, ModelShape, Position
from wordorder.positions.conformance import check

CLOSE = 2e-6  # biases are float32, of size 1 here
LOGITS, APART = 1e-5, 1e-2  # of two readings in float32; what no rounding explains


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


def test_attention_gyms_twelve_heads_have_other_slopes() -> None:
    """Its one geometric row is the paper's for powers of two alone: 0.630 first, not 0.5."""

    def row(heads: int) -> list[float]:
        return [2.0 ** (-(head + 1) * 8.0 / heads) for head in range(heads)]

    eight, twelve = (Alibi(ModelShape(heads, 4)).slopes().tolist() for heads in (8, 12))
    assert row(8) == eight
    assert (round(row(12)[0], 3), twelve[0]) == (0.630, 0.5)
    assert not set(row(12)[:2]) & set(twelve)


class Shard(Position):
    """The second half of a model's heads, where each half has a device of its own."""

    def distance_bias(self, distance: Tensor) -> Tensor:
        whole = Alibi(ModelShape(2 * self.shape.heads, self.shape.head_dim))
        return whole.distance_bias(distance)[self.shape.heads :]


def test_head_order_after_a_tensor_parallel_split(lab) -> None:
    """A shard needs its slice of the slopes: a model with as many heads has others."""
    whole, half = ModelShape(8, 4), ModelShape(4, 4)
    assert Alibi(whole).slopes()[4:].tolist() == [2.0**-5, 2.0**-6, 2.0**-7, 2.0**-8]
    assert Alibi(half).slopes().tolist() == [2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8]
    q, k, v = (lab.numbers(8, 9, 4, seed=seed) for seed in range(3))
    expected = lab.attended(Alibi(whole), q, k, v)[4:]
    sliced, anew = (lab.attended(kind(half), q[4:], k[4:], v[4:]) for kind in (Shard, Alibi))
    torch.testing.assert_close(sliced, expected, rtol=0, atol=CLOSE)
    assert (anew - expected).abs().max() > APART


def test_nearer_keys_are_preferred() -> None:
    """A flipped sign has every property of the kit."""
    bias = Alibi(ModelShape(6, 4)).distance_bias(torch.arange(9))
    assert (bias.diff(dim=1) < 0).all() and not bias[:, 0].any()


def test_the_bias_is_not_divided_by_the_root_of_the_head_size() -> None:
    """As Falcon does."""
    one, other = (Alibi(ModelShape(6, d)).distance_bias(torch.arange(9)) for d in (4, 64))
    assert torch.equal(one, other)


def test_falcon_multiplies_slopes_in_bfloat16() -> None:
    """It has three biases from 1,000 to 1,007, off by up to two positions."""
    time = 1008
    falcon = modeling_falcon.build_alibi_tensor(torch.ones(1, time).long(), 8, torch.float32)
    ours = Alibi(ModelShape(8, 4)).distance_bias(torch.arange(time - 1, -1, -1))
    for head in range(8):
        slope, theirs = 2.0 ** -(head + 1), falcon[head, 0].tolist()
        off = [theirs[p] / slope - p for p in range(time)]
        assert not any(off[:257]) and max(map(abs, off)) == 2
        assert len(set(theirs[1000:])) == 3
        assert ours[head].tolist() == [-slope * (time - 1 - p) for p in range(time)]


@pytest.mark.parametrize("kernel", ["plain", "fused"])
def test_the_bias_is_there_at_one_query_of_decoding(kernel: str) -> None:
    """Of shape (..., 1, 1) it is one number for all keys, which the softmax does not see."""
    whole, one_by_one = {}, {}
    tokens = torch.randint(40, (1, 10), generator=torch.Generator().manual_seed(0))
    for spec in ("alibi", "none"):
        config = ModelConfig(position=spec, vocabulary_size=40, width=32, layers=2, heads=4)
        model = filled(LanguageModel(config)).eval()
        model.attention_kernel, cache = kernel, model.new_cache()
        with torch.no_grad():
            whole[spec] = model(tokens)
            read = [model(token, cache=cache) for token in tokens.split(1, 1)]
        one_by_one[spec] = torch.cat(read, 1)
        torch.testing.assert_close(one_by_one[spec], whole[spec], rtol=0, atol=LOGITS)
    apart = (one_by_one["none"] - whole["alibi"])[0].abs().amax(1)
    assert apart[0] < LOGITS and apart[2:].min() > APART


def test_a_bidirectional_model_gets_the_symmetric_form() -> None:
    bias = Alibi(ModelShape(6, 4, causal=False)).distance_bias(torch.arange(-9, 10))
    assert torch.equal(bias, bias.flip(1))


@pytest.mark.parametrize("causal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_kit_holds(causal: bool) -> None:
    report = check("alibi", causal=causal, heads=(6, 8, 1))
    assert report.holds, str(report)
