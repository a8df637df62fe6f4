"""Which sentence a model prefers: probabilities of whole sentences, and files of pairs."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch
from random_weights import filled
from torch import Tensor, nn

from wordorder.batch import Batch
from wordorder.errors import BadInput
from wordorder.evaluation.preferences import (
    SENTENCES,
    Pair,
    Preference,
    differences,
    log_probabilities,
    read_pairs,
    sentence_pairs,
    shuffles_of,
)
from wordorder.model import ModelConfig, TokenModel, make_model
from wordorder.text.corpus import Corpus, Document
from wordorder.text.tokenizer import Tokenizer, make_tokenizer

ROUNDING = 1e-4


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return make_tokenizer("bytes", Corpus("x", (Document("abc", "x"),)))


class ByFormula(nn.Module):
    """Loss by a formula of what was read so far and what comes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.config = ModelConfig()
        self.read: list[Tensor] = []

    def hidden(self, batch: Tensor | Batch) -> Tensor:
        batch = Batch.of(batch)
        tokens = batch.tokens
        assert not self.training
        self.read.append(tokens)
        return tokens

    def target_losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
        raise NotImplementedError


class BagOfWords(ByFormula):
    """Every token costs what it costs, wherever it stands."""

    def target_losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return torch.sin(targets.float()) + 2


class Alphabetical(ByFormula):
    """A token that comes before its predecessor in the alphabet costs something."""

    def target_losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return (hidden > targets).float()


def random_model(position: str = "rotary", **options: object) -> TokenModel:
    shape = {"width": 32, "heads": 4, "layers": 2, "trained_length": 48, "dropout": 0.0}
    return filled(
        make_model(ModelConfig(position=position, vocabulary_size=257, **{**shape, **options}))
    ).eval()


def preferred(model: nn.Module, tokenizer: Tokenizer, pairs: list[Pair]) -> Preference:
    return Preference.of("these", pairs, differences(model, tokenizer, pairs))  # type: ignore[arg-type]


def test_a_bag_of_words_has_no_preference_among_orders(tokenizer: Tokenizer) -> None:
    found = preferred(BagOfWords(), tokenizer, sentence_pairs())
    assert (found.accuracy, found.standard_error) == (0.5, 0)
    assert found.difference_nats == pytest.approx(0, abs=ROUNDING)


def test_a_model_of_neighbours_prefers_the_order_it_knows(tokenizer: Tokenizer) -> None:
    """This one knows the alphabet; the end of text, 256, comes after all letters."""
    ordered = [Pair("abcd", other, "here") for other in ("abdc", "dcba", "bacd")]
    found = preferred(Alphabetical(), tokenizer, ordered)
    assert (found.accuracy, found.pairs) == (1.0, 3)
    assert found.difference_nats == pytest.approx((1 + 3 + 1) / 3)
    assert preferred(Alphabetical(), tokenizer, [Pair("ba", "ab", "here")]).accuracy == 0
    assert preferred(Alphabetical(), tokenizer, [Pair("ab", "ab", "here")]).accuracy == 0.5


def test_the_error_is_that_of_sentences(tokenizer: Tokenizer) -> None:
    """Of two sentences one is always preferred and one never: four pairs are no four draws."""
    pairs = [
        Pair("ab", "ba", ""),
        Pair("ab", "ba ", ""),
        Pair("dc", "cd", ""),
        Pair("dc", "cde", ""),
    ]
    assert preferred(Alphabetical(), tokenizer, pairs).standard_error == pytest.approx(0.5)
    own = [Pair("ab", "ba", ""), Pair("dc", "cd", ""), Pair("cd", "dc", ""), Pair("ef", "fe", "")]
    found = preferred(Alphabetical(), tokenizer, own)
    assert (found.accuracy, found.standard_error) == (0.75, pytest.approx(0.5 / 2))
    assert preferred(Alphabetical(), tokenizer, pairs[:1]).standard_error is None


@pytest.mark.parametrize("kind", ["transformer", "gru"])
def test_probabilities_are_those_of_sentences_read_alone(kind: str, tokenizer: Tokenizer) -> None:
    model = random_model(kind=kind).train()
    texts = ["the dog bit", "a dog", "ten words", "", "one more of ten"]
    encoded = [tokenizer.encode(text) for text in texts]
    shares: list[float] = []
    found = log_probabilities(model, encoded, 256, progress=shares.append)
    assert model.training and shares[-1] == 1.0
    model.eval()
    for tokens, value in zip(encoded, found.tolist(), strict=True):
        whole = torch.tensor([[256, *tokens, 256]])
        with torch.no_grad():
            logits = model(whole[:, :-1]).log_softmax(-1)
        own = logits[0].gather(1, whole[0, 1:, None]).sum()
        assert value == pytest.approx(float(own), abs=ROUNDING)
    assert len({round(value, 2) for value in found.tolist()}) == 5


def test_sentences_of_one_length_are_read_together_and_no_other_token(tokenizer: Tokenizer) -> None:
    model = BagOfWords()
    encoded = [tokenizer.encode(text) for text in ("ab", "abc", "cd", "e")]
    log_probabilities(model, encoded, 256)  # type: ignore[arg-type]
    assert [read.tolist() for read in model.read] == [
        [[256, 101]],
        [[256, 97, 98], [256, 99, 100]],
        [[256, 97, 98, 99]],
    ]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_shuffles_are_other_orders_of_the_same_words(sentence: str) -> None:
    found = shuffles_of(sentence)
    assert len(found) == len(set(found)) == 8
    assert sentence not in found
    assert all(sorted(other.split()) == sorted(sentence.split()) for other in found)
    assert found == shuffles_of(sentence) != shuffles_of(sentence, seed=1)


def test_few_words_have_few_orders() -> None:
    assert shuffles_of("hello world") == ["world hello"]
    assert shuffles_of("no no") == shuffles_of("hello") == []
    assert set(shuffles_of("a b c")) == {"a c b", "b a c", "b c a", "c a b", "c b a"}


GOOD = {"sentence_good": "Cats sleep.", "sentence_bad": "Cats sleeps.", "UID": "x"}


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.jsonl.gz"])
def test_pairs_are_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    other = json.dumps({**GOOD, "sentence_bad": "a\u2028b"}, ensure_ascii=False)
    lines = f"\ufeff{json.dumps(GOOD)}\n\n{other}\r\n"
    path.write_bytes(gzip.compress(lines.encode()) if name.endswith("gz") else lines.encode())
    assert read_pairs(str(path)) == [
        Pair("Cats sleep.", "Cats sleeps.", f"{path}, line 1"),
        Pair("Cats sleep.", "a\u2028b", f"{path}, line 3"),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"sentence_good": "a", ', "line 2, column 24 is not JSON (Expecting property name enc"),
        ("[1, 2]", "line 2: a JSON list, not an object"),
        ("[" * 100_000, "line 2"),
        ('{"good": "a"}', "line 2: the field 'sentence_good' is missing; its fields are 'good'"),
        ('{"sentence_good": "a"}', "line 2: the field 'sentence_bad' is missing; its fields are"),
        (json.dumps({**GOOD, "sentence_bad": 3}), "line 2: 'sentence_bad' is not a sentence: 3"),
        (json.dumps({**GOOD, "sentence_good": " "}), "line 2: 'sentence_good' is not a sentence"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{line}\n", encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        read_pairs(str(path))
    assert str(caught.value).startswith(f"{path}, {said}")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.jsonl", None, "no such file"),
        ("empty.jsonl", b"\n", "holds no pairs"),
        ("latin.jsonl", b'{"a": "\xe9"}', "is not UTF-8: byte 0xe9 at offset 7"),
        ("cut.jsonl.gz", gzip.compress(b"{}", mtime=0)[:-4], "is not a complete gzip file"),
        ("plain.jsonl.gz", b"{}", "is not a complete gzip file"),
    ],
)
def test_files_that_hold_none(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match=said) as caught:
        read_pairs(str(path))
    assert str(path) in str(caught.value)


def test_a_sentence_too_long_for_the_model_is_named(tokenizer: Tokenizer) -> None:
    pairs = [Pair("short", "shorter", "f, line 1"), Pair("a" * 60, "b" * 61, "f, line 2")]
    with pytest.raises(BadInput) as caught:
        differences(random_model("learned"), tokenizer, pairs)
    assert caught.value.code == "evaluation.sentence-too-long"
    assert str(caught.value).startswith("f, line 2: 60 tokens are too long: position 60 is past")


def test_a_character_that_is_not_known_is_named() -> None:
    characters = make_tokenizer("characters", Corpus("x", (Document("abc ", "x"),)))
    with pytest.raises(BadInput, match=r"^f, line 7: .*'d'"):
        differences(random_model(), characters, [Pair("abc", "abd", "f, line 7")])
