"""The loss of each document: a partition of the loss of the text, whatever the windows."""

from __future__ import annotations

import numpy as np
import pytest
from random_weights import filled

from wordorder.evaluation.loss import evaluate
from wordorder.experiments import document_losses as module
from wordorder.experiments.document_losses import document_losses, grouped
from wordorder.model import LanguageModel, ModelConfig
from wordorder.text.store import TokenStore

SIZES = (7, 1, 30, 12, 5, 19)


@pytest.fixture
def store() -> TokenStore:
    tokens = np.random.default_rng(0).integers(0, 11, sum(SIZES)).astype(np.uint16)
    starts = np.concatenate([[0], np.cumsum(SIZES)[:-1]])
    return TokenStore(tokens, starts, len(tokens), 0, 11)


@pytest.fixture
def model() -> LanguageModel:
    config = ModelConfig(vocabulary_size=11, width=16, layers=1, heads=2, trained_length=8)
    return filled(LanguageModel(config))


@pytest.mark.parametrize("isolate", [False, True])
def test_weighed_by_tokens_they_are_the_loss_of_the_text(
    model: LanguageModel, store: TokenStore, isolate: bool
) -> None:
    found = document_losses(model, store, context_length=8, isolate_documents=isolate)
    assert found["weights"] == list(SIZES)
    whole = evaluate(model, store, context_length=8, isolate_documents=isolate)
    assert np.average(found["losses"], weights=SIZES) == pytest.approx(whole.loss_nats, abs=1e-5)


def test_a_document_has_the_loss_of_its_own_tokens(model: LanguageModel, store: TokenStore) -> None:
    """Windows of one token: a token's loss then depends on the one before it alone."""
    losses = module._token_losses(model, store, 1, False)
    found = document_losses(model, store, context_length=1)
    assert found["losses"][2] == pytest.approx(losses[8:38].mean())
    assert len(set(found["losses"])) == len(SIZES)


def test_many_documents_are_gathered_into_groups_of_neighbours(
    model: LanguageModel, store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_GROUPS", 3)
    assert document_losses(model, store, context_length=8)["weights"] == [8, 42, 24]
    assert grouped([1, 2, 3, 5, 9, 7, 4], [0, 0, 1, 2, 3, 4, 8]) == {
        "losses": [2.0, 7.0, 5.5],
        "weights": [3, 2, 2],
    }


def test_windows_of_one_document_are_one_value() -> None:
    found = grouped([1.0, 3.0, 5.0], [4, 4, 9])
    assert found == {"losses": [2.0, 5.0], "weights": [2, 1]}
