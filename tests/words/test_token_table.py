"""A run's token embeddings as vectors: which tokens are words, and what is said of the others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import tokenizers
import torch

from wordorder.errors import BadInput
from wordorder.model import TokenModel
from wordorder.text.corpus import Corpus, Document
from wordorder.text.tokenizer import Tokenizer, make_tokenizer
from wordorder.words.token_table import token_vectors, word_tokens

MakeModel = Callable[..., TokenModel]


def test_words_are_tokens_with_the_blank_before_them(
    tokenizer: Tokenizer, make_random: MakeModel
) -> None:
    model = make_random()
    vectors = token_vectors(model, tokenizer, "run")
    assert {"king", "queen", "man", "woman", "love", "AI", "I", "the"} <= set(vectors.names)
    assert not {".", " king", "", "<|endoftext|>", "<|mask|>"} & set(vectors.names)
    (token,) = tokenizer.encode(" king")
    row = torch.from_numpy(vectors.matrix[vectors.row("king")])
    assert torch.equal(row, model.embedding.weight[token])
    # "ing" ends words and begins none; a piece that begins one, as " qu", stands for itself
    assert list(word_tokens(tokenizer)) == sorted(word_tokens(tokenizer))


def test_a_word_of_several_tokens_says_so(tokenizer: Tokenizer, make_random: MakeModel) -> None:
    vectors = token_vectors(make_random(), tokenizer, "run")
    pieces = [tokenizer.decode([token]) for token in tokenizer.encode(" kingdom")]
    assert len(pieces) > 1
    with pytest.raises(BadInput) as raised:
        vectors.row("kingdom")
    assert raised.value.code == "words.unknown-word"
    assert f"({len(pieces)} tokens: {' '.join(map(repr, pieces))})" in str(raised.value)


def test_a_word_start_without_a_word_behind_it_is_none(tokenizer: Tokenizer) -> None:
    assert not {" ", "", "."} & set(word_tokens(tokenizer).values())


def test_characters_are_the_words_of_a_tokenizer_of_characters() -> None:
    tokenizer = make_tokenizer("characters", Corpus("c", (Document("ab, é\n", "c"),)))
    assert set(word_tokens(tokenizer).values()) == {"a", "b", "é"}
    tokenizer = make_tokenizer("bytes", Corpus("c", (Document("ab", "c"),)))
    assert word_tokens(tokenizer)[ord("a")] == "a"
    assert not any("\ufffd" in word for word in word_tokens(tokenizer).values())


def test_a_script_without_spaces_has_no_blanks_before_its_words(make_random: MakeModel) -> None:
    text = "the end. 人工智能。人工的智能。" * 30
    tokenizer = make_tokenizer("bpe", Corpus("c", (Document(text, "c"),)), 400)
    assert any("智能" in word for word in word_tokens(tokenizer).values())


def test_a_word_that_cannot_be_spelt_says_why(make_random: MakeModel) -> None:
    tokenizer = make_tokenizer("characters", Corpus("c", (Document("人工智能", "c"),)))
    vectors = token_vectors(make_random(vocabulary_size=5), tokenizer, "run")
    with pytest.raises(BadInput) as caught:
        vectors.row("我")
    assert caught.value.code == "words.unknown-word" and "U+6211" in str(caught.value)


@pytest.mark.parametrize(
    ("vocabulary", "expected"),
    [
        ({"▁king": 0, "king": 1, "▁": 2, "dom": 3}, {0: "king"}),
        ({"king": 0, "##dom": 1, "man": 2}, {0: "king", 2: "man"}),
    ],
)
def test_other_families_mark_words_otherwise(
    vocabulary: dict[str, int], expected: dict[int, str]
) -> None:
    model = tokenizers.models.WordLevel({**vocabulary, "<s>": 9}, unk_token="<s>")
    backend = tokenizers.Tokenizer(model)
    if "▁king" in vocabulary:
        backend.decoder = tokenizers.decoders.Metaspace()
    else:
        backend.decoder = tokenizers.decoders.WordPiece()
    backend.add_special_tokens(["</s>", "<s>"])
    assert word_tokens(Tokenizer(backend)) == expected
