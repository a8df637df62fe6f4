"""The contrast: a GRU reads in order, whatever positions say."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis
import pytest
import torch
from hypothesis import strategies as st

from wordorder.batch import Batch
from wordorder.errors import BadInput
from wordorder.model import ModelConfig, RecurrentLanguageModel, make_model

# Float32 sums in another order, and what is no rounding.
ROUNDING, APART = 1e-5, 1e-2
TOKENS = torch.randint(40, (2, 20), generator=torch.Generator().manual_seed(0))

MakeModel = Callable[..., RecurrentLanguageModel]


@torch.no_grad()
def test_it_reads_the_order_without_positions(make_random: MakeModel) -> None:
    model = make_random("none", kind="gru", layers=1)
    swapped = TOKENS.clone()
    swapped[:, [17, 18]] = TOKENS[:, [18, 17]]
    assert (model(swapped) - model(TOKENS))[:, -1].abs().max() > APART


@torch.no_grad()
def test_positions_are_read_past(make_random: MakeModel) -> None:
    model = make_random("learned", kind="gru", trained_length=4)
    assert not hasattr(model, "position")
    found = model(Batch(TOKENS, positions=torch.arange(20)[None] * 7))
    assert torch.equal(found, model(TOKENS))


def test_the_future_never_reaches_the_past(make_random: MakeModel) -> None:
    model = make_random(kind="gru", tied_embeddings=False)
    logits = model(torch.arange(12)[None])[0, 5]
    (slopes,) = torch.autograd.grad(logits.square().sum(), model.embedding.weight)
    assert slopes[:12].abs().sum(1).nonzero().flatten().tolist() == list(range(6))


@hypothesis.settings(max_examples=8, deadline=None, derandomize=True, database=None)
@hypothesis.given(cuts=st.lists(st.integers(1, 19), unique=True, max_size=6).map(sorted))
@torch.no_grad()
def test_read_in_pieces_is_read_at_once(make_random: MakeModel, cuts: list[int]) -> None:
    model = make_random(kind="gru")
    cache = model.new_cache()
    found = [model(piece, cache=cache) for piece in TOKENS.tensor_split(cuts, dim=1)]
    torch.testing.assert_close(torch.cat(found, 1), model(TOKENS), atol=ROUNDING, rtol=ROUNDING)
    assert cache.length == 20


def test_packed_documents_are_refused(make_random: MakeModel) -> None:
    model = make_random(kind="gru")
    with pytest.raises(BadInput) as caught:
        model(Batch(TOKENS, documents=(torch.arange(20) // 7)[None].expand(2, -1)))
    assert caught.value.code == "model.gru-packed-documents"


@torch.no_grad()
def test_one_document_and_what_pads_its_end_are_no_packing(make_random: MakeModel) -> None:
    model = make_random(kind="gru")
    documents = torch.zeros(2, 20, dtype=torch.long)
    assert torch.equal(model(Batch(TOKENS, documents=documents)), model(TOKENS))
    documents[1, 15:] = -1
    found = model(Batch(TOKENS, documents=documents))
    assert torch.equal(found[1, :15], model(TOKENS)[1, :15])


def test_it_reads_in_one_direction_alone() -> None:
    with pytest.raises(BadInput) as caught:
        make_model(ModelConfig(kind="gru", causal=False))
    assert caught.value.code == "model.gru-bidirectional"


@torch.no_grad()
def test_first_values() -> None:
    """The recurrent matrix keeps lengths; biases are zero; a seed is a model."""
    models = []
    for seed in (1, 1, 2):
        model = make_model(ModelConfig(kind="gru", width=64, heads=4, vocabulary_size=90, layers=2))
        model.initialise(seed)
        models.append(model)
    for recurrence in models[0].recurrences:
        square = recurrence.weight_hh_l0.mT @ recurrence.weight_hh_l0
        torch.testing.assert_close(square, torch.eye(64), atol=ROUNDING, rtol=0)
        assert not recurrence.bias_ih_l0.any()
        assert not recurrence.bias_hh_l0.any()
        assert float(recurrence.weight_ih_l0.std()) == pytest.approx(64**-0.5, rel=0.05)
    first_layer, second_layer = models[0].recurrences
    assert not torch.equal(first_layer.weight_hh_l0, second_layer.weight_hh_l0)
    first, again, other = (model.state_dict() for model in models)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["recurrences.0.weight_hh_l0"], other["recurrences.0.weight_hh_l0"])
