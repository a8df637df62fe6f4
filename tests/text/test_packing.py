"""Conversations are packed whole, and only their answers are targets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wordorder.batch import RowShare
from wordorder.errors import BadInput
from wordorder.text.batches import Batches, evaluation_batches
from wordorder.text.chat_template import ChatML, Plain
from wordorder.text.corpus import Corpus, Document, Turn
from wordorder.text.store import TokenStore, beginning, open_store, shortened
from wordorder.text.tokenizer import Tokenizer, make_tokenizer

CORPUS = Corpus(
    "chats",
    [
        Document(
            f"{'q' * n}\n{'a' * (9 - n)}",
            f"line {n}",
            (Turn("prompt", "q" * n), Turn("answer", "a" * (9 - n))),
        )
        for n in range(1, 9)
    ],
)


@pytest.fixture
def tokenizer() -> Tokenizer:
    return make_tokenizer("bytes", CORPUS)


@pytest.fixture
def store(tokenizer: Tokenizer) -> TokenStore:
    return open_store(CORPUS, tokenizer, Plain())


def test_a_store_knows_its_answers_also_from_the_cache(
    store: TokenStore, tokenizer: Tokenizer
) -> None:
    assert store.sizes.tolist() == [11] * 8 and store.answers is not None
    assert store.bytes == sum(9 - n for n in range(1, 9))
    assert store.targets == store.bytes + 8  # the ends of text
    again = open_store(CORPUS, tokenizer, Plain())
    assert isinstance(again.answers, np.memmap) and (again.answers == store.answers).all()
    assert open_store(CORPUS, tokenizer).answers is None
    with_marks = tokenizer.with_special(ChatML().special_tokens)
    assert len(open_store(CORPUS, with_marks, ChatML())) > len(store)


def test_a_share_of_a_packed_batch_is_its_rows(store: TokenStore) -> None:
    batches = Batches(store, context_length=24, batch_size=6, seed=3)
    whole = batches.at(1)
    for rank in range(3):
        own, targets = batches.share(1, RowShare(rank, 3))
        rows = RowShare(rank, 3).of(whole)
        assert torch.equal(own.tokens, rows.tokens) and torch.equal(own.targets, rows.targets)
        assert torch.equal(own.documents, rows.documents)
        assert torch.equal(own.positions, rows.positions)
        assert targets == int((whole.targets >= 0).sum())


def test_each_epoch_predicts_each_answer_once_from_its_whole_prompt(
    store: TokenStore, tokenizer: Tokenizer
) -> None:
    batches = Batches(store, context_length=24, batch_size=2, seed=3)
    assert batches.windows_per_epoch == 4
    for epoch in range(2):
        answers = []
        for index in (2 * epoch, 2 * epoch + 1):
            batch = batches.at(index)
            assert batch.documents is not None and batch.positions is not None
            assert (batch.documents[:, -2:] == -1).all() and (batch.targets[:, -2:] == -1).all()
            for row in range(2):
                for document in (1, 2):
                    inside = batch.documents[row] == document
                    ids = batch.tokens[row][inside].tolist()
                    assert batch.positions[row][inside].tolist() == list(range(11))
                    assert ids[0] == tokenizer.end_of_text
                    targets = batch.targets[row][inside]
                    prompt, _, rest = tokenizer.decode(ids).partition("\n")
                    counted = targets[targets >= 0].tolist()
                    assert counted == [*tokenizer.encode(rest), tokenizer.end_of_text]
                    assert int((targets < 0).sum()) == len(prompt) + 1
                    answers.append(rest)
        assert sorted(map(len, answers)) == list(range(1, 9))


def test_evaluation_counts_each_answer_once(store: TokenStore) -> None:
    targets, where = [], []
    for batch, indices in evaluation_batches(store, 30, 3):
        assert batch.targets is not None
        counted = batch.targets.numpy() >= 0
        targets += batch.targets.numpy()[counted].tolist()
        where += indices[counted].tolist()
    assert store.answers is not None
    assert sorted(where) == np.flatnonzero(store.answers).tolist()
    assert targets == store.tokens[where].tolist()


def test_long_conversations_are_cut_and_those_without_an_answer_left_out(
    store: TokenStore, tokenizer: Tokenizer
) -> None:
    cut, number, left_out = shortened(store, 6, tokenizer)
    assert (number, left_out) == (4, 4)
    assert cut.sizes.tolist() == [6] * 4 and cut.bytes == 4 + 3 + 2 + 1 == cut.targets
    batch = Batches(cut, context_length=6, batch_size=4, seed=0).at(0)
    # Each is read from the end of text, which the conversation before it does not have.
    assert (batch.tokens[:, 0] == tokenizer.end_of_text).all()
    assert shortened(store, 11, tokenizer) == (store, 0, 0)
    with pytest.raises(BadInput) as caught:
        Batches(store, context_length=6, batch_size=4, seed=0)
    assert caught.value.code == "text.conversation-too-long"


def test_the_beginning_of_a_store_is_whole_conversations(
    store: TokenStore, tokenizer: Tokenizer
) -> None:
    for most, documents in ((23, 2), (22, 2), (3, 1), (1000, 8)):
        part = beginning(store, most, tokenizer)
        assert len(part.starts) == documents and len(part) == 11 * documents
        assert part.bytes == part.targets - documents


def test_rows_hold_what_fits() -> None:
    random = np.random.default_rng(0)
    sizes = random.integers(1, 40, 300)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    tokens = np.zeros(sizes.sum(), np.uint16)
    store = TokenStore(tokens, starts, 1, 0, 1, answers=np.ones(len(tokens), np.bool_))
    batches = Batches(store, context_length=40, batch_size=1, seed=0)
    rows = batches.windows_per_epoch
    assert rows <= 1.05 * len(tokens) / 40
    counted = [int((batches.at(row).targets >= 0).sum()) for row in range(rows)]
    assert sum(counted) == len(tokens)
