"""Forgetting attention against its paper's formula, x-transformers, and its users' traps."""

from __future__ import annotations

import warnings

import pytest
import torch
from random_weights import filled
from torch import Tensor

from wordorder.model import LanguageModel, ModelConfig
from wordorder.positions import (
    Forgetting,
    ModelShape,
    PositionError,
    TokenLayout,
    build,
    index_grid,
)
from wordorder.positions.conformance import check
from wordorder.positions.reference_model import ReferenceCache, ReferenceModel

# Everything here is float64, but for the values of the expected rows, which are float32.
CLOSE = 1e-6
# The reference computes in float32.
THEIRS = 5e-6
APART = 1e-2


def inputs(lab, heads: int, time: int = 7) -> tuple[Tensor, ...]:
    q, k, v = (lab.numbers(heads, time, 4, seed=seed) for seed in range(3))
    return q, k, v, lab.numbers(time, 4 * heads, seed=3)


def grid_of(position: Forgetting, state: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return what is added to the score of every pair, (batch, heads, query, key)."""
    batch, time, heads = state.shape
    queries = torch.zeros(batch, heads, time, 4, dtype=dtype)
    zeros = torch.zeros(batch, heads, time, time, dtype=dtype)
    score = position.score(queries, queries, None, state)
    return score(zeros, *index_grid(zeros, torch.arange(time))).detach()


def geometry_of(time: int, documents: Tensor | None = None) -> TokenLayout:
    return TokenLayout.of(torch.arange(time)[None], documents)


@pytest.mark.parametrize("heads", [1, 6, 12])
@pytest.mark.parametrize("plainly", [True, False])
def test_attention_is_the_papers(formula, lab, heads: int, plainly: bool) -> None:
    position = lab.filled(Forgetting(ModelShape(heads, 4)))
    q, k, v, x = inputs(lab, heads)
    paper = formula("forgetting")
    gates = [
        [paper.gate(weight, bias, row) for row in x.tolist()]
        for weight, bias in zip(position.weight.tolist(), position.bias.tolist(), strict=True)
    ]

    def score(h: int, i: int, j: int) -> float:
        product = sum(a * b for a, b in zip(q[h][i].tolist(), k[h][j].tolist(), strict=True))
        return product / 2 + paper.bias(gates[h], i, j)

    expected = lab.softmax_rows(score, v.tolist(), True)
    for start in (0, 1000, 100_000):
        for given in (None, torch.arange(start, start + 7), torch.arange(7) * 3):
            found = lab.attended(
                position, q, k, v, start=start, positions=given, x=x, plainly=plainly
            )
            torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("spec", ["rotary+forgetting", "forgetting/none"])
def test_it_conforms(spec: str) -> None:
    report = check(spec)
    assert report.holds, str(report)


def test_bias_is_that_of_x_transformers(lab) -> None:
    """Read at once: with its cache, theirs loses what was forgotten before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        there = pytest.importorskip("x_transformers.x_transformers")
    position = lab.filled(Forgetting(ModelShape(3, 4)))
    module = there.DataDependentAlibi(12, 3)
    x = lab.numbers(2, 9, 12).float()
    with torch.no_grad():
        module.to_forget_gates[0].weight.copy_(position.weight)
        module.to_forget_gates[0].bias.copy_(position.bias)
        expected = module(x)
    found = grid_of(position, position.state(x, geometry_of(9), None), torch.float32)
    seen = torch.ones(9, 9, dtype=torch.bool).tril()
    torch.testing.assert_close(found[..., seen], expected[..., seen], rtol=0, atol=THEIRS)


# -- traps ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_sums_are_in_float64_whatever_the_model_is_in(lab, dtype: torch.dtype) -> None:
    """Far into a text the gates of the last tokens are still exact, and added in float32.

    After 20,000 tokens a sum is near -17,000: bfloat16 steps by 128 there, float32 by 0.002.
    """
    position = lab.filled(Forgetting(ModelShape(2, 4))).to(dtype)
    x = lab.numbers(1, 20_000, 8).to(dtype)
    state = position.state(x, geometry_of(20_000), None).detach()
    assert state.shape == (1, 20_000, 2) and state.dtype == torch.float64
    assert state[0, -1].max() < -10_000
    gates = torch.nn.functional.logsigmoid(
        x[0].float() @ position.weight.float().mT + position.bias.float()
    )
    last = grid_of(position, state[:, -4:], dtype)[0, :, 3].double()
    assert grid_of(position, state[:, -4:], dtype).dtype == torch.float32
    exact = [gates[19_997 + j :].double().sum(0) for j in range(4)]
    torch.testing.assert_close(last, torch.stack(exact, -1).detach(), rtol=0, atol=2e-6)


def test_the_gate_comes_from_the_hidden_state_not_the_key(lab) -> None:
    position = lab.filled(Forgetting(ModelShape(2, 4)))
    q, k, v, x = inputs(lab, 2)
    state = position.state(x[None], geometry_of(7), None)
    where = [torch.tensor([index]) for index in (0, 1, 6, 2)]
    zero = torch.zeros(1, dtype=torch.float64)
    found = [position.score(q[None], keys[None], None, state)(zero, *where) for keys in (k, 3 * k)]
    assert torch.equal(*found)
    same_x = lab.attended(position, q, k, v, x=x)
    assert (lab.attended(position, q, k, v, x=-x) - same_x).abs().max() > APART


def test_a_cache_goes_on_from_its_sum(lab) -> None:
    """Read in pieces it is what it is at once; a sum begun anew in each piece is not."""
    reader = ReferenceModel(build("forgetting", ModelShape(4, 8, layers=2)), 2)
    for instance in reader.position.instances:
        lab.filled(instance)
    x = lab.numbers(1, 9, 32)
    expected = reader.read(x)
    for forgetful in (False, True):
        past = ReferenceCache()
        if forgetful:
            past.state = lambda layer: None
        pieces = [reader.read(piece, cache=past) for piece in x.tensor_split((3, 7), 1)]
        apart = (torch.cat(pieces, 1) - expected).detach().abs().max()
        assert apart > APART if forgetful else apart < CLOSE


def test_x_transformers_with_a_cache_forgets_the_gates_before() -> None:
    """Its gates are those of the tokens at hand; of the cached ones it has keys alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        there = pytest.importorskip("x_transformers.x_transformers")
    tokens = torch.randint(40, (1, 16), generator=torch.Generator().manual_seed(0))

    def apart(gated: bool) -> float:
        layers = there.Decoder(
            dim=32, depth=2, heads=4, attn_dim_head=8, attn_data_dependent_alibi=gated
        )
        model = there.TransformerWrapper(
            num_tokens=40, max_seq_len=16, use_abs_pos_emb=False, attn_layers=layers
        )
        model = filled(model).eval()
        with torch.no_grad():
            expected = model(tokens)
            _, cache = model(tokens[:, :8], return_intermediates=True)
            found = model(tokens[:, :9], cache=cache)[:, -1]
        return float((found - expected[:, 8]).abs().max() / expected.std())

    assert apart(gated=False) < THEIRS < 1 < apart(gated=True)
    config = ModelConfig(position="forgetting", vocabulary_size=40, width=32, layers=2, heads=4)
    ours = filled(LanguageModel(config)).eval()
    cache = ours.new_cache()
    with torch.no_grad():
        found = torch.cat([ours(some, cache=cache) for some in tokens.split((8, 1, 5, 2), 1)], 1)
        torch.testing.assert_close(found, ours(tokens), rtol=0, atol=THEIRS)


def test_padding_forgets_nothing(lab) -> None:
    """Wherever it stands, and whatever its hidden state is."""
    position = lab.filled(Forgetting(ModelShape(2, 4)))
    documents = torch.tensor([[-1, 0, 0, -1, -1, 0]])
    real = documents[0] >= 0
    x = lab.numbers(1, 6, 8)
    alone = position.state(x[:, real], geometry_of(3), None)
    x[:, ~real] = 100.0
    found = position.state(x, geometry_of(6, documents), None)
    torch.testing.assert_close(found[:, real], alone, rtol=0, atol=1e-12)  # sums of other sizes
    assert torch.equal(found[:, 3], found[:, 2]) and not found[:, 0].any()
    later = position.state(x[:, :1], geometry_of(1), found)
    torch.testing.assert_close(
        later[:, 0] - found[:, -1], position.state(x, geometry_of(6), None)[:, 0]
    )


def test_a_query_forgets_itself_not() -> None:
    """The gate of the query counts, that of the key does not: on the diagonal there is none."""
    position = Forgetting(ModelShape(1, 4))
    with torch.no_grad():
        position.weight.zero_()
        position.bias.copy_(torch.tensor([0.0]))  # every gate is one half
        added = grid_of(position, position.state(torch.zeros(1, 4, 4), geometry_of(4), None))
    half = torch.tensor(0.5, dtype=torch.float64).log()
    expected = half * torch.tensor([3.0, 2, 1, 0], dtype=torch.float64)
    torch.testing.assert_close(added[0, 0, 3], expected)


def test_a_bidirectional_model_is_refused() -> None:
    with pytest.raises(PositionError) as caught:
        Forgetting(ModelShape(2, 4, causal=False))
    assert caught.value.code == "positions.forgetting-bidirectional"


def test_first_values() -> None:
    position = Forgetting(ModelShape(6, 64))
    assert not position.bias.any()
    assert float(position.weight.detach().std()) == pytest.approx(0.02, rel=0.1)
