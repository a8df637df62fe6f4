"""Sentences as vectors: what they are made of, and what each kind knows of order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch
from tokenizers import models, pre_tokenizers

from wordorder.errors import BadInput
from wordorder.model import TokenModel
from wordorder.text.corpus import Corpus, Document
from wordorder.text.tokenizer import Tokenizer, make_tokenizer
from wordorder.words import sentences
from wordorder.words.sentences import (
    Apart,
    compare,
    other_order,
    read_sentences,
    sentence_vectors,
    tokens_of,
)

MakeModel = Callable[..., TokenModel]
ROUNDING, APART = 1e-5, 1e-2


def apart(model: TokenModel, tokenizer: Tokenizer) -> dict[str, float]:
    found = sentence_vectors(model, tokenizer, ["I love AI", "AI love I"])
    return {kind: Apart.of(rows[0], rows[1]).relative for kind, rows in found.items()}


def test_the_mean_of_embeddings_is_the_same_in_every_order_and_hidden_states_are_not(
    tokenizer: Tokenizer, make_random: MakeModel
) -> None:
    for kind in ("rotary", "none"):
        found = apart(make_random(kind), tokenizer)
        assert found["words"] < ROUNDING
        assert found["mean"] > APART and found["last"] > APART


def test_both_ways_without_embedding_no_mean_knows_order(
    tokenizer: Tokenizer, make_random: MakeModel
) -> None:
    found = apart(make_random("none", causal=False), tokenizer)
    assert found["words"] < ROUNDING and found["mean"] < ROUNDING
    assert apart(make_random("learned", causal=False), tokenizer)["mean"] > APART


@pytest.mark.parametrize("at_once", [1, 8192])
def test_vectors_are_the_models_own(
    tokenizer: Tokenizer,
    make_random: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
    at_once: int,
) -> None:
    monkeypatch.setattr(sentences, "TOKENS_AT_ONCE", at_once)
    model = make_random()
    texts = ["the king", "I love AI", "the man", "the queen love the woman"]
    shares: list[float] = []
    found = sentence_vectors(model, tokenizer, texts, shares.append)
    assert shares[-1] == 1
    for number, text in enumerate(texts):
        ids = tokenizer.encode(f" {text}")
        with torch.no_grad():
            hidden = model.hidden(torch.tensor([[tokenizer.end_of_text, *ids]]))[0, 1:]
        words = model.embedding.weight[ids].detach()
        for kind, expected in (
            ("words", words.mean(0)),
            ("mean", hidden.mean(0)),
            ("last", hidden[-1]),
        ):
            np.testing.assert_allclose(found[kind][number], expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("empty", ["", " ", "\n"])
def test_a_sentence_without_a_word_is_refused(
    tokenizer: Tokenizer, make_random: MakeModel, empty: str
) -> None:
    with pytest.raises(BadInput) as caught:
        sentence_vectors(make_random(), tokenizer, ["I love AI", empty])
    assert caught.value.code == "words.empty-sentence"


def test_the_nearest_sentence_is_the_one_that_says_the_same(
    tokenizer: Tokenizer, make_random: MakeModel
) -> None:
    lines = ["the man", "the queen love the king", "I love AI"]
    found = compare(make_random(), tokenizer, "I love AI", among=lines, count=2)
    for near in found["nearest"].values():
        assert len(near) == 2 and near[0]["word"] == "I love AI"
        assert near[0]["score"] == pytest.approx(1, abs=1e-5)


def test_how_far_two_vectors_are_apart() -> None:
    found = Apart.of(np.array([3.0, 0.0], np.float32), np.array([0.0, 4.0], np.float32))
    assert (found.cosine, found.distance, found.relative) == (0, 5, pytest.approx(5 / 3.5))
    assert Apart.of(np.zeros(2, np.float32), np.zeros(2, np.float32)).relative == 0


@pytest.mark.parametrize("kind", ["bpe", "bytes", "characters"])
def test_tokens_from_the_last_to_the_first_where_there_are_no_words(kind: str) -> None:
    corpus = Corpus("c", (Document("我爱人工智能。" * 20, "c"),))
    tokenizer = make_tokenizer(kind, corpus, 270)
    text, tokens, unit = other_order(tokenizer, "我爱人工智能")
    forward = tokens_of(tokenizer, "我爱人工智能")
    assert unit == "tokens" and tokenizer.decode(forward) == "我爱人工智能"
    assert sorted(tokens) == sorted(forward) and tokenizer.decode(tokens) == text
    assert "\ufffd" not in text and text != "我爱人工智能"
    if kind != "bpe":
        assert text == "能智工人爱我"


def test_words_from_the_last_to_the_first_where_there_are_any(tokenizer: Tokenizer) -> None:
    found = other_order(tokenizer, " I  love AI ")
    assert found == ("AI love I", tokenizer.encode(" AI love I"), "words")
    assert other_order(tokenizer, "I love AI", "love AI I").unit == ""


def test_an_unknown_character_is_counted_from_the_first_of_the_sentence() -> None:
    tokenizer = make_tokenizer("characters", Corpus("c", (Document("ab cd", "c"),)))
    with pytest.raises(BadInput, match=r"'x' \(U\+0078\) at offset 3 "):
        tokens_of(tokenizer, "ab xc")


def test_a_tokenizer_that_drops_spaces_still_has_words() -> None:
    backend = tokenizers.Tokenizer(models.WordLevel({"I": 0, "love": 1, "AI": 2}))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.add_special_tokens(["<|endoftext|>"])
    assert other_order(Tokenizer(backend), "I love AI") == ("AI love I", [2, 1, 0], "words")


def test_sentences_are_the_lines_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "s.txt"
    path.write_text("one\n\n two \n", encoding="utf-8")
    assert read_sentences(path) == ["one", "two"]
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        read_sentences(path)
    assert caught.value.code == "words.no-sentences"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert read_sentences(path) == ["one", "two"]
    path.write_bytes(b"\xff")
    with pytest.raises(BadInput, match=r"1 byte of 1 in .* is not UTF-8"):
        read_sentences(path)
    with pytest.raises(BadInput, match="no such file"):
        read_sentences(tmp_path / "nothing")
