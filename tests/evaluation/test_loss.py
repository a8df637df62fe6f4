"""Loss over a text: sums by hand over a model whose answers are known."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch
from torch import nn

from wordorder.errors import BadInput
from wordorder.evaluation.loss import bucket_edges, evaluate
from wordorder.text.corpus import Corpus, Document
from wordorder.text.store import TokenStore, open_store
from wordorder.text.tokenizer import make_tokenizer


class ByPosition(nn.Module):
    """Scores every token `first + step * position` nats, and remembers what it was asked."""

    def __init__(self, first: float, step: float) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.tensor(first))
        self.step = step
        self.seen: list[torch.Tensor] = []

    def token_losses(self, tokens, targets, *, positions=None, documents=None, consecutive=False):  # type: ignore
        assert not self.training
        self.seen.append(targets[targets >= 0])
        places = torch.arange(tokens.shape[1]).expand_as(tokens) if positions is None else positions
        return torch.where(targets >= 0, self.first + self.step * places, 0.0)


def store_of(*texts: str) -> TokenStore:
    corpus = Corpus("test", tuple(Document(text, "test") for text in texts))
    return open_store(corpus, make_tokenizer("bytes", corpus))


def test_every_token_is_counted_once_and_bits_are_over_the_bytes() -> None:
    store = store_of("a" * 100, "b" * 50)
    model = ByPosition(2.0, 0.0)
    found = evaluate(model, store, context_length=32)
    assert torch.cat(model.seen).tolist() == store.tokens.tolist()
    assert (found.tokens, found.bytes, found.windows) == (152, 150, 5)
    assert found.loss_nats == pytest.approx(2.0)
    assert found.standard_error == pytest.approx(0.0, abs=1e-9)
    assert found.bits_per_byte == pytest.approx(2.0 * 152 / math.log(2) / 150)


def test_loss_by_position_is_that_of_its_positions() -> None:
    found = evaluate(ByPosition(0.0, 1.0), store_of("x" * 199), context_length=50)
    expected = {(0, 15): 7.5, (16, 31): 23.5, (32, 49): 40.5}
    assert {(b.first, b.last): b.loss_nats for b in found.by_position} == pytest.approx(expected)
    assert [b.tokens for b in found.by_position] == [64, 64, 72]
    assert found.loss_nats == pytest.approx(24.5)


def test_positions_that_restart_are_the_ones_reported() -> None:
    store = store_of("x" * 9, "y" * 9)
    found = evaluate(ByPosition(0.0, 1.0), store, context_length=20, isolate_documents=True)
    assert [(b.first, b.last, b.tokens) for b in found.by_position] == [(0, 15, 20)]
    assert found.loss_nats == pytest.approx(4.5)


def test_the_error_is_that_of_windows() -> None:
    """Two windows of 10 tokens at 1 and 3 nats: mean 2, error 1, however many tokens they have."""

    class ByWindow(ByPosition):
        def token_losses(self, tokens, targets, **given):  # type: ignore
            return torch.tensor([1.0, 3.0])[:, None].expand(2, 10) + 0 * self.first

    found = evaluate(ByWindow(0.0, 0.0), store_of("x" * 19), context_length=10)
    assert (found.loss_nats, found.standard_error) == pytest.approx((2.0, 1.0))


def test_one_window_has_no_error() -> None:
    found = evaluate(ByPosition(1.0, 0.0), store_of("x" * 19), context_length=20)
    assert found.standard_error is None
    assert json.loads(json.dumps(dataclasses.asdict(found)))["windows"] == 1


def test_masked_tokens_have_no_bits_per_byte() -> None:
    store = store_of("hello there " * 20)
    found = evaluate(
        ByPosition(1.0, 0.0), store, context_length=60, objective="masked-token", mask_id=256
    )
    assert found.bits_per_byte is None
    assert 0 < found.tokens < len(store)


def test_a_text_shorter_than_a_window_says_what_is_possible() -> None:
    with pytest.raises(BadInput) as caught:
        evaluate(ByPosition(1.0, 0.0), store_of("x" * 19), context_length=21)
    assert str(caught.value) == (
        "the text is 20 tokens, shorter than one window of 21: "
        "give more text, or a length of at most 20"
    )


def test_the_model_is_left_training_and_progress_reaches_the_end() -> None:
    model = ByPosition(1.0, 0.0).train()
    shares: list[float] = []
    evaluate(model, store_of("x" * 99), context_length=10, progress=shares.append)
    assert model.training
    assert shares[-1] == 1.0


@pytest.mark.parametrize(
    ("length", "edges"),
    [
        (1, [0, 1]),
        (16, [0, 16]),
        (17, [0, 16, 17]),
        (64, [0, 16, 32, 64]),
        (100, [0, 16, 32, 64, 100]),
    ],
)
def test_buckets_double(length: int, edges: list[int]) -> None:
    assert bucket_edges(length) == edges
