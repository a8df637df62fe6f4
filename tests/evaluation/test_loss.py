"""Loss over a text: sums by hand over a model whose answers are known."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics

import numpy as np
import pytest
import torch
from torch import nn

from wordorder.batch import Batch
from wordorder.errors import BadInput
from wordorder.evaluation.intervals import ratio
from wordorder.evaluation.loss import bucket_edges, change_of, cluster_starts, evaluate
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

    def forward(self, batch: Batch) -> torch.Tensor:
        assert not self.training
        tokens, targets, positions = batch.tokens, batch.targets, batch.positions
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


def test_the_change_between_two_models_is_paired_by_document() -> None:
    """The losses that both share cancel, document by document; the change of positions remains."""
    store = store_of(*["a" * size for size in (40, 70, 30, 90, 60)])
    first, second = (
        evaluate(ByPosition(2.0, step), store, context_length=29) for step in (0.1, 0.3)
    )
    costs, sizes = np.zeros(5), store.sizes
    for place, document in enumerate(np.repeat(np.arange(5), sizes)):
        costs[document] += 0.2 * (place % 29)
    expected, found = ratio(costs, sizes), change_of(first, second)
    assert found.mean == pytest.approx(second.loss_nats - first.loss_nats)
    assert (found.mean, found.standard_error) == pytest.approx(
        (expected.mean, expected.standard_error)
    )


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


class ByLetter(ByPosition):
    """Scores a token by the nats that its letter has; the end of text costs as `d`."""

    def forward(self, batch: Batch) -> torch.Tensor:
        return (batch.targets - ord("a") + 1).clamp(max=4).double()


def test_the_error_is_that_of_documents_however_they_lie_in_windows() -> None:
    """Four documents of 10 tokens cost 1.3, 2.2, 3.1 and 4: mean 2.65, windows cut where they may.

    Nine letters and an end that costs 4: what a document costs is the mean of its own tokens.
    """
    store = store_of(*(letter * 9 for letter in "abcd"))
    means = [1.3, 2.2, 3.1, 4.0]
    for length in (7, 10, 40):
        found = evaluate(ByLetter(0.0, 0.0), store, context_length=length)
        assert found.loss_nats == pytest.approx(2.65)
        assert found.standard_error == pytest.approx(statistics.stdev(means) / 2)
        assert found.degrees_of_freedom == pytest.approx(3)
        assert (found.documents, found.blocks) == (4, 0)


def test_documents_of_other_sizes_weigh_by_their_tokens() -> None:
    """The jackknife: how far the mean moves when a document is left out."""
    store = store_of("a" * 39, "b" * 29, "c" * 19, "d" * 29, "b" * 39)
    found = evaluate(ByLetter(0.0, 0.0), store, context_length=16)
    sizes = [40, 30, 20, 30, 40]
    sums = [43, 62, 61, 120, 82]
    without = [(sum(sums) - s) / (sum(sizes) - n) for s, n in zip(sums, sizes, strict=True)]
    mean = sum(sums) / sum(sizes)
    assert found.loss_nats == pytest.approx(mean)
    expected = math.sqrt(4 / 5 * sum((one - mean) ** 2 for one in without))
    assert found.standard_error == pytest.approx(expected)
    effective = sum(sizes) ** 2 / sum(n * n for n in sizes)
    assert found.degrees_of_freedom == pytest.approx(effective - 1)


def test_blocks_stand_for_documents_where_there_is_one() -> None:
    """160 tokens are 16 blocks of 10, of which every other costs 1 and 2."""
    store = store_of(("a" * 10 + "b" * 10) * 7 + "a" * 10 + "b" * 9)
    found = evaluate(ByLetter(0.0, 0.0), store, context_length=32)
    blocks = [1.0, 2.0] * 7 + [1.0, 2.2]
    assert (found.documents, found.blocks) == (1, 16)
    assert found.standard_error == pytest.approx(statistics.stdev(blocks) / 4)
    assert found.degrees_of_freedom == pytest.approx(15)


def test_a_document_that_holds_nearly_everything_is_cut_and_small_ones_stay_whole() -> None:
    starts = cluster_starts(store_of("x" * 799, "y" * 9, "z" * 9))
    assert len(starts) == 16 + 2
    assert starts[-2:].tolist() == [800, 810]
    assert np.diff(starts[:17]).tolist() == [50] * 16
    assert cluster_starts(store_of(*["x" * 9] * 5)).tolist() == [0, 10, 20, 30, 40]


def test_masked_tokens_and_documents_that_stand_apart_belong_to_their_documents() -> None:
    store = store_of(*(letter * 999 for letter in "abcd"))
    masked = evaluate(
        ByLetter(0.0, 0.0), store, context_length=50, objective="masked-token", mask_id=256
    )
    apart = evaluate(ByLetter(0.0, 0.0), store, context_length=50, isolate_documents=True)
    # No end of text is masked, so that each document costs what its letter does.
    assert 0.9 < masked.standard_error / (statistics.stdev([1, 2, 3, 4]) / 2) < 1.1
    assert apart.standard_error == pytest.approx(
        evaluate(ByLetter(0.0, 0.0), store, context_length=50).standard_error
    )


def test_one_token_has_no_error() -> None:
    found = evaluate(ByPosition(1.0, 0.0), store_of("x"), context_length=1)
    assert found.standard_error is not None
    empty = ratio([3.0], [2])
    assert (empty.mean, empty.standard_error, empty.interval) == (1.5, None, None)
    assert json.loads(json.dumps(dataclasses.asdict(found)))["windows"] == 2


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
    assert caught.value.code == "evaluation.text-shorter-than-window" and "at most 20" in str(
        caught.value
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
