"""Cached decoding equals the full forward pass, for every embedding there is.

All weights are random and non-zero: with zero output projections, as training starts
from, the context has no effect and these tests would hold for any code.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wordorder.batch import Batch
from wordorder.errors import BadInput
from wordorder.model import ModelConfig, TokenModel, make_model
from wordorder.model.decoding import Sampling, choose, generate, next_distribution
from wordorder.positions import CATALOGUE

SPECS = [*CATALOGUE, "learned+alibi", "rotary/none", "rotary:fraction=0.5", "sinusoidal+rotary"]
LENGTH = 12
# Float32 sums in another order: a few units in the seventh place of logits near 1.
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def random_model(config: ModelConfig) -> TokenModel:
    model = make_model(config).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def config_of(spec: str, **changes: object) -> ModelConfig:
    config = ModelConfig(
        position=spec,
        vocabulary_size=29,
        width=32,
        layers=2,
        heads=4,
        trained_length=LENGTH,
    )
    return replace(config, **changes)


def some_tokens(rows: int = 2, length: int = LENGTH) -> torch.Tensor:
    return torch.randint(0, 29, (rows, length), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("spec", SPECS)
def test_uneven_chunks_in_the_fused_kernel_give_the_plain_ones_logits(spec: str) -> None:
    """`test_reading` has the chunks of one kernel."""
    model, tokens = random_model(config_of(spec, windows=(4, 0))), some_tokens()
    with torch.no_grad():
        model.attention_kernel = "plain"
        full = model(tokens)
        model.attention_kernel = "fused"
        torch.testing.assert_close(model(tokens), full, **CLOSE)
        cache = model.new_cache()
        parts = [model(part, cache=cache) for part in tokens.split([5, 1, 3, 1, 2], dim=1)]
    torch.testing.assert_close(torch.cat(parts, 1), full, **CLOSE)


@given(cuts=st.lists(st.integers(1, 5), min_size=1, max_size=4))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_raw_and_rotated_keys_agree_in_any_chunks(cuts: list[int]) -> None:
    model = random_model(config_of("rotary:fraction=0.5/rotary+alibi"))
    tokens = some_tokens(length=sum(cuts))
    with torch.no_grad():
        full = model(tokens)
        for rotated in (True, False):
            cache = model.new_cache(rotated=rotated)
            parts = [model(part, cache=cache) for part in tokens.split(cuts, dim=1)]
            torch.testing.assert_close(torch.cat(parts, 1), full, **CLOSE)


@pytest.mark.parametrize("spec", ["rotary", "alibi", "none", "rotary+alibi"])
def test_only_distances_count_where_that_is_declared(spec: str) -> None:
    model, tokens = random_model(config_of(spec)), some_tokens()
    positions = torch.arange(LENGTH).expand(2, -1)
    with torch.no_grad():
        here = model(Batch(tokens, positions=positions))
        there = model(Batch(tokens, positions=positions + 1000))
    torch.testing.assert_close(there, here, **CLOSE)


@pytest.mark.parametrize("spec", ["sinusoidal", "learned"])
def test_where_a_text_stands_counts_for_absolute_embeddings(spec: str) -> None:
    model, tokens = random_model(config_of(spec)), some_tokens(length=5)
    positions = torch.arange(5).expand(2, -1)
    with torch.no_grad():
        moved = model(Batch(tokens, positions=positions + 4))
        assert (moved - model(Batch(tokens, positions=positions))).abs().max() > 0.01


@pytest.mark.parametrize("spec", SPECS)
def test_a_bidirectional_model_sees_order_only_through_positions(spec: str, both_ways) -> None:
    if not both_ways(spec):
        pytest.skip("for causal models")
    model, tokens = random_model(config_of(spec, causal=False)), some_tokens()
    order = torch.randperm(LENGTH, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        moved, plain = model(tokens[:, order]), model(tokens)[:, order]
    if spec in CATALOGUE and not CATALOGUE[spec].tells_order:
        torch.testing.assert_close(moved, plain, **CLOSE)
    else:  # ten times the rounding: fope's weights, drawn this small, hardly rotate
        assert (moved - plain).abs().max() > 0.001


def test_a_gru_decodes_as_it_reads() -> None:
    model, tokens = random_model(config_of("none", kind="gru")), some_tokens()
    with torch.no_grad():
        cache = model.new_cache()
        parts = [model(part, cache=cache) for part in tokens.split([5, 1, 6], dim=1)]
        torch.testing.assert_close(torch.cat(parts, 1), model(tokens), **CLOSE)


def test_a_learned_table_ends_with_one_clear_error() -> None:
    model = random_model(config_of("learned"))
    with pytest.raises(BadInput, match=r"position 12 .* \(11\)") as caught:
        model(some_tokens(length=LENGTH + 1))
    assert caught.value.code == "model.position-past-limit"


@pytest.mark.parametrize("spec", ["rotary", "alibi", "sinusoidal"])
def test_generation_past_the_trained_length_needs_no_cache(spec: str) -> None:
    model = random_model(config_of(spec))
    sampling = Sampling(max_tokens=2 * LENGTH, seed=3)
    texts = [list(generate(model, [1, 2], sampling, use_cache=use)) for use in (True, False)]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 2 * LENGTH


def test_sampling_keeps_what_it_says() -> None:
    logits = torch.tensor([3.0, 2.0, 1.0, -4.0])
    generator = torch.Generator().manual_seed(0)

    def drawn(**changes: float) -> set[int]:
        sampling = replace(Sampling(temperature=1.0, min_p=0.0), **changes)
        seen = torch.tensor([0])
        return {choose(logits.clone(), seen, sampling, generator) for _ in range(300)}

    assert drawn(temperature=0.0) == {0}
    assert drawn(temperature=0.0, repetition_penalty=2.0) == {1}
    assert drawn(top_k=2) == {0, 1}
    assert drawn(top_p=0.6) == {0}
    assert drawn(min_p=0.3) == {0, 1}
    assert drawn() >= {0, 1, 2}


def test_tokens_are_drawn_from_the_distribution_that_is_shown() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    seen = torch.tensor([0])
    sampling = Sampling(temperature=1.0, top_k=2, min_p=0.0)
    weights = next_distribution(logits, seen, sampling)
    assert weights.nonzero().flatten().tolist() == [0, 1]
    torch.testing.assert_close(weights[:2], logits.softmax(-1)[:2])
    cold = next_distribution(logits, seen, Sampling(temperature=0.0))
    assert cold.tolist() == [1, 0, 0, 0]


def test_an_observer_gets_each_token_and_its_logits() -> None:
    model = random_model(config_of("rotary"))
    observed: list[tuple[int, torch.Tensor]] = []
    sampling = Sampling(max_tokens=5, temperature=0.0)
    tokens = list(
        generate(model, [1, 2], sampling, observe=lambda token, x: observed.append((token, x)))
    )
    assert [token for token, _ in observed] == tokens
    assert [int(logits.argmax()) for _, logits in observed] == tokens
