"""Windows that move by less than their length: what is asked of whom, and what it sums to."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from random_weights import filled
from torch import Tensor, nn

from wordorder.batch import Batch
from wordorder.errors import BadInput
from wordorder.evaluation.loss import evaluate
from wordorder.evaluation.sliding import sliding_loss
from wordorder.model import ModelConfig, TokenModel, make_model
from wordorder.text.store import TokenStore

END = 0  # no document holds it but at its end


def store_of(*sizes: int) -> TokenStore:
    """Documents of so many tokens, the end included; each token is its own place, from 1."""
    tokens = np.arange(1, sum(sizes) + 1, dtype=np.uint32)
    ends = np.cumsum(sizes)
    tokens[ends - 1] = END
    return TokenStore(tokens, ends - np.array(sizes), sum(sizes) - len(sizes), END, sum(sizes) + 1)


def bytes_of(store: TokenStore) -> np.ndarray:
    return (np.arange(store.vocabulary_size) != END).astype(np.int64)


class Recorder(nn.Module):
    """Costs as many nats as a token has before it in its window; remembers what it was asked."""

    def __init__(self, causal: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.config = ModelConfig(causal=causal)
        self.read: list[Tensor] = []
        self.asked: list[Tensor] = []

    def hidden(self, batch: Tensor | Batch) -> Tensor:
        batch = Batch.of(batch)
        tokens, positions = batch.tokens, batch.positions
        assert not self.training and positions is None
        self.read.append(tokens)
        return torch.arange(1, tokens.shape[1] + 1).expand_as(tokens)[..., None].float()

    def target_losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
        self.asked.append(targets)
        return torch.where(targets >= 0, hidden.squeeze(-1), 0.0)


def random_model(position: str = "rotary", **options: object) -> TokenModel:
    shape = {"width": 32, "heads": 4, "layers": 2, "trained_length": 16, "dropout": 0.0}
    config = ModelConfig(position=position, **{"vocabulary_size": 121, **shape, **options})
    return filled(make_model(config)).eval()


def test_every_token_that_has_enough_before_it_is_asked_for_once() -> None:
    model, store = Recorder(), store_of(30, 17)
    found = sliding_loss(model, store, context_length=10, stride=4)  # type: ignore[arg-type]
    asked = torch.cat([part.flatten() for part in model.asked])
    assert asked[asked >= 0].tolist() == store.tokens[6:].tolist()
    assert (found.tokens, found.left_out, found.windows) == (41, 6, 11)
    assert (found.context_length, found.stride, found.fewest_before) == (10, 4, 7)
    (read,) = model.read
    assert read[0].tolist() == [END, *store.tokens[:9].tolist()]
    assert read[:, 0].tolist() == [END, *store.tokens[3:43:4].tolist()]


def test_the_loss_is_that_of_tokens_and_the_error_that_of_documents() -> None:
    """Tokens of a document cost the same, whichever window asks for them."""

    class ByDocument(Recorder):
        def target_losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
            place = torch.where(targets == END, 19, targets - 1)  # an end is of no document's cost
            return torch.where(targets >= 0, (place // 20).double(), 0.0)

    store = store_of(*[20] * 6)
    found = sliding_loss(ByDocument(), store, context_length=10, stride=4)  # type: ignore[arg-type]
    costs = np.array([0.0, *(19 * n for n in range(1, 6))])  # the ends cost 0
    sizes = np.array([14, *[20] * 5])  # six of the first have too few before them
    mean = costs.sum() / sizes.sum()
    moved = (costs.sum() - costs) / (sizes.sum() - sizes) - mean
    assert found.loss_nats == pytest.approx(mean)
    assert found.standard_error == pytest.approx(math.sqrt(5 / 6 * (moved @ moved)))
    assert found.degrees_of_freedom == pytest.approx(sizes.sum() ** 2 / (sizes @ sizes) - 1)


def test_an_error_does_not_shrink_with_the_stride() -> None:
    """Documents of 60 cost the same: they say as much however often windows begin among them."""

    class ByStretch(Recorder):
        def target_losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
            return torch.where(targets >= 0, (targets // 60 % 7).double(), 0.0)

    store = store_of(*[60] * 20)
    wide, narrow = (
        sliding_loss(ByStretch(), store, context_length=60, stride=stride)  # type: ignore[arg-type]
        for stride in (60, 6)
    )
    assert wide.standard_error is not None and narrow.standard_error is not None
    assert 0.8 < narrow.standard_error / wide.standard_error < 1.2


def test_documents_that_stand_apart_are_texts_of_their_own() -> None:
    model, store = Recorder(), store_of(12, 5, 9)
    found = sliding_loss(
        model,
        store,
        context_length=8,
        stride=3,
        isolate_documents=True,  # type: ignore[arg-type]
    )
    asked = torch.cat([part.flatten() for part in model.asked])
    own = [*store.tokens[5:12].tolist(), *store.tokens[22:26].tolist()]
    assert asked[asked >= 0].tolist() == own
    assert (found.tokens, found.left_out, found.windows) == (11, 15, 5)
    (read,) = model.read
    assert read[:, 0].tolist() == [END, 3, 6, END, 20]


@pytest.mark.parametrize("options", [{}, {"kind": "gru"}], ids=["transformer", "gru"])
def test_windows_that_move_by_their_length_are_whole_windows(options: dict[str, object]) -> None:
    model, store = random_model(**options), store_of(70, 45)
    whole = evaluate(model, store, context_length=16)
    found = sliding_loss(
        model, store, context_length=16, stride=16, bytes_per_token=bytes_of(store)
    )
    assert (found.tokens, found.left_out, found.windows) == (whole.tokens, 0, whole.windows)
    for name in ("loss_nats", "standard_error", "bits_per_byte"):
        assert getattr(found, name) == pytest.approx(getattr(whole, name), rel=1e-5)


def test_a_scored_token_has_its_window_before_it_and_nothing_else() -> None:
    """By hand, one window at a time; scaling by length sees the same length in all of them."""
    model, store = random_model("rotary:scaling=dynamic"), store_of(60)
    found = sliding_loss(model, store, context_length=24, stride=10)
    ring = [END, *store.tokens.tolist()]
    losses = []
    for begin in range(0, 60 - 14, 10):
        window = torch.tensor([(ring + ring[1:])[begin : begin + 25]])
        with torch.no_grad():
            each = model(Batch(window[:, :-1], window[:, 1:]))[0, 14:]
        losses += each[: 60 - begin - 14].tolist()
    assert len(losses) == found.tokens == 46
    assert found.loss_nats == pytest.approx(sum(losses) / 46, rel=1e-5)


def test_bits_are_over_the_bytes_of_what_is_scored() -> None:
    store = store_of(30, 17)
    found = sliding_loss(
        Recorder(),
        store,
        context_length=10,
        stride=4,
        bytes_per_token=bytes_of(store),  # type: ignore[arg-type]
    )
    assert found.bytes == 47 - 6 - 2
    assert found.bits_per_byte == pytest.approx(found.loss_nats * 41 / math.log(2) / 39)


def test_where_bytes_are_not_exact_there_are_no_bits() -> None:
    store = store_of(30, 17)
    for sizes in (None, 2 * bytes_of(store)):
        found = sliding_loss(
            Recorder(),
            store,
            context_length=10,
            stride=4,
            bytes_per_token=sizes,  # type: ignore[arg-type]
        )
        assert (found.bytes, found.bits_per_byte) == (None, None)


def test_the_model_is_left_training_and_progress_reaches_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wordorder.evaluation.sliding.TOKENS_PER_BATCH", 20)
    model, shares = Recorder().train(), []
    sliding_loss(model, store_of(47), context_length=10, stride=4, progress=shares.append)  # type: ignore[arg-type]
    assert model.training
    assert shares == sorted(shares) and len(shares) == 6 and shares[-1] == 1.0
    assert {len(each) for each in model.read} == {2, 1}


@pytest.mark.parametrize(
    ("options", "code", "part"),
    [
        ({"stride": 0}, "stride-out-of-range", "between 1 and the window's 10 tokens"),
        ({"stride": 11}, "stride-out-of-range", "a stride of 11"),
        (
            {"context_length": 90, "stride": 9},
            "text-too-short-to-slide",
            "need a text longer than 81 tokens, and this one has 26",
        ),
        (
            {"stride": 1, "context_length": 13, "isolate_documents": True},
            "text-too-short-to-slide",
            "need a document longer than 12 tokens, and the longest has 12",
        ),
    ],
)
def test_bad_input(options: dict[str, int], code: str, part: str) -> None:
    with pytest.raises(BadInput) as caught:
        sliding_loss(
            Recorder(),
            store_of(12, 5, 9),
            **{"context_length": 10, "stride": 4, **options},  # type: ignore[arg-type]
        )
    assert caught.value.code == f"evaluation.{code}" and part in str(caught.value)


def test_a_model_that_sees_both_ways_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        sliding_loss(Recorder(causal=False), store_of(30), context_length=10, stride=4)  # type: ignore[arg-type]
    assert caught.value.code == "evaluation.bidirectional"
