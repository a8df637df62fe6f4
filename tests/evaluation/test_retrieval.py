"""What is found again: texts as they should be, and models whose answers are known."""

from __future__ import annotations

import string

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from wordorder.batch import Batch
from wordorder.errors import BadInput
from wordorder.evaluation.intervals import wilson
from wordorder.evaluation.needles import KINDS, NAMES, _alphabet, haystack
from wordorder.evaluation.retrieval import check_kinds, example, interval_of, retrieval
from wordorder.model import LanguageModel, ModelConfig
from wordorder.text.corpus import Corpus, Document
from wordorder.text.store import TokenStore, open_store
from wordorder.text.tokenizer import Tokenizer, make_tokenizer

LETTERS = np.random.default_rng(0).choice(list(f"{string.ascii_letters}     ,."), 6000)
TEXT = "".join(LETTERS)  # no digits in it


def text_of(kind: str, text: str = TEXT) -> tuple[TokenStore, Tokenizer]:
    corpus = Corpus("text", (Document(text, "text"),))
    tokenizer = make_tokenizer(kind, corpus, 300)
    return open_store(corpus, tokenizer), tokenizer


class Fake(nn.Module):
    """A model that says of each place what comes next, from the tokens so far."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.weight = nn.Parameter(torch.zeros(()))
        self.config = ModelConfig()

    def hidden(self, batch: Tensor | Batch) -> Tensor:
        batch = Batch.of(batch)
        tokens = batch.tokens
        said = [[self.next(row[: i + 1]) for i in range(len(row))] for row in tokens.tolist()]
        return torch.tensor(said)[..., None].float()

    def logits(self, hidden: Tensor) -> Tensor:
        return nn.functional.one_hot(hidden[..., 0].long(), self.vocabulary).float()

    def next(self, tokens: list[int]) -> int:
        raise NotImplementedError


class Copier(Fake):
    """Says what came after the longest end of the text that was there before."""

    def next(self, tokens: list[int]) -> int:
        best, said = 0, 0
        for i in range(len(tokens) - 1):
            same = 0
            while same <= i and tokens[i - same] == tokens[-1 - same]:
                same += 1
            if same > best:
                best, said = same, tokens[i + 1]
        return said


class Pairs(Fake):
    """Says what came after the last token where it was last."""

    def next(self, tokens: list[int]) -> int:
        before = [i for i in range(len(tokens) - 1) if tokens[i] == tokens[-1]]
        return tokens[before[-1] + 1] if before else 0


class Knows(Fake):
    """Always says one token."""

    def __init__(self, vocabulary: int, token: int) -> None:
        super().__init__(vocabulary)
        self.token = token

    def next(self, tokens: list[int]) -> int:
        return self.token


@pytest.mark.parametrize("kind", ["passkey", "multi-key", "recall"])
@pytest.mark.parametrize("tokenizer", ["bpe", "bytes", "characters"])
def test_a_copier_finds_everything(kind: str, tokenizer: str) -> None:
    store, own = text_of(tokenizer)
    model = Pairs(400) if kind == "recall" else Copier(400)
    for found in retrieval(model, store, own, kind, [300], [0.0, 0.5, 1.0], examples=2):
        assert (found.exact, found.chosen) == (1.0, 1.0)
        assert found.by_text == (1.0, 1.0)


def test_repeated_lengths_and_depths_are_measured_once() -> None:
    """The same texts twice are not independent."""
    store, own = text_of("bpe")
    found = retrieval(Copier(400), store, own, "passkey", [64, 80, 64], [0.5, 1.0, 0.5], examples=1)
    assert [(each.length, each.depth) for each in found] == [
        *((64, 0.5), (64, 1.0)),
        *((80, 0.5), (80, 1.0)),
    ]


def test_a_copier_does_not_resolve_names() -> None:
    store, own = text_of("bpe")
    (found,) = retrieval(Copier(400), store, own, "variable-tracking", [200], [0.0], examples=4)
    assert found.exact == 0.0


def test_who_always_says_the_same_is_right_by_chance() -> None:
    store, own = text_of("bpe")
    seven = own.encode("7")[0]
    found = retrieval(Knows(400, seven), store, own, "passkey", [64], [0.5], examples=400)[0]
    assert found.exact == 0.0
    assert found.chosen == pytest.approx(found.chance, abs=0.03)


def test_an_interval_counts_what_is_right_together_as_one() -> None:
    alone, together = [0.2] * 24 + [0.0, 0.4] * 8, [1.0] * 8 + [0.0] * 32
    (low, high), (lower, higher) = interval_of(alone), interval_of(together)
    assert lower < low < 0.2 < high < higher
    # 39 trials by their spread, fewer by as much as Student's t is wider than the normal.
    worth = 39 * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 39)) ** 2
    assert interval_of(together) == pytest.approx(wilson(0.2, worth))
    assert interval_of([0.0] * 40) == wilson(0.0, 40)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", [0.0, 0.3, 1.0])
def test_examples_are_as_long_as_asked_and_the_same_each_time(kind: str, depth: float) -> None:
    store, own = text_of("bpe")
    hay = haystack(store, own)
    one, again, other = (example(hay, kind, 200, depth, 0, number) for number in (1, 1, 2))
    assert len(one.tokens) == 201
    np.testing.assert_array_equal(one.tokens, again.tokens)
    assert not np.array_equal(one.tokens, other.tokens)
    assert set(one.tokens[-one.answer :]) <= set(one.alphabet)


def test_passkey_stands_at_its_depth() -> None:
    store, own = text_of("bytes")
    hay = haystack(store, own)
    for depth in (0.0, 0.25, 0.5, 1.0):
        text = own.decode(example(hay, "passkey", 1000, depth, 0, 0).tokens.tolist())
        begin, key = text.index(" The pass key is "), text[-5:]
        needle = f" The pass key is {key}. Remember it."
        assert key.isdigit() and text[begin:].startswith(needle)
        room = len(text) - len(needle) - len(f" The pass key is {key}")
        assert begin == round(depth * room)


def test_variables_lead_to_the_key() -> None:
    store, own = text_of("bytes")
    text = own.decode(example(haystack(store, own), "variable-tracking", 600, 0.1, 0, 0).tokens)
    said = text.split(" The value of ")[1:]
    meaning: dict[str, str] = {}
    for each in said[:-1]:
        name, _, value = each.partition(" is ")
        value = value.partition(".")[0]
        meaning[name] = meaning[value.removeprefix("the value of ")] if "of" in value else value
    name, _, answer = said[-1].partition(" is ")
    assert name in NAMES and meaning[name] == answer
    assert len(said) == 4


@pytest.mark.parametrize(("tokenizer", "length"), [("bpe", 101), ("bpe", 1200), ("bytes", 500)])
@pytest.mark.parametrize("depth", [0.0, 0.5, 1.0])
def test_recall_asks_for_the_pair_at_its_depth(tokenizer: str, length: int, depth: float) -> None:
    store, own = text_of(tokenizer)
    tokens = example(haystack(store, own), "recall", length, depth, 0, 3).tokens
    assert len(tokens) == length + 1
    first, value = tokens[-2:]
    places = np.flatnonzero(tokens[:-2] == first)
    assert len(places) == 1 and tokens[places[0] + 1] == value
    assert places[0] / (length - 3) == pytest.approx(depth, abs=0.02)


def test_keys_are_digits_or_the_commonest_letters() -> None:
    store, own = text_of("bpe")
    assert own.decode(haystack(store, own).alphabet) == "0123456789"
    store, own = text_of("characters")  # without digits
    letters = own.decode(haystack(store, own).alphabet)
    assert len(set(letters)) == 10 and letters.isalpha()


def test_a_length_that_the_embedding_cannot_represent_is_told() -> None:
    store, own = text_of("bytes")
    config = ModelConfig(
        vocabulary_size=own.vocabulary_size,
        width=16,
        layers=1,
        heads=2,
        trained_length=150,
        position="learned",
    )
    model = LanguageModel(config)
    model.initialise(0)
    short, long = retrieval(model, store, own, "passkey", [150, 151], [0.0], examples=2)
    assert short.cannot is None
    assert long.chosen is None and "past the largest" in str(long.cannot)


def test_where_nothing_can_be_asked_the_reason_is_told() -> None:
    store, own = text_of("bytes")
    short, enough = retrieval(Knows(400, 1), store, own, "passkey", [56, 57], [0.0], examples=1)
    assert short.cannot == "an example of 56 tokens is too short: this task needs 57"
    assert short.exact is None and enough.cannot is None
    poor = text_of("bytes", "abc, " * 50)
    (found,) = retrieval(Knows(400, 1), *poor, "recall", [200], [0.0])
    assert str(found.cannot).startswith("the text has 5 distinct tokens, and recall needs")


def test_bad_input() -> None:
    store, own = text_of("bytes")
    with pytest.raises(BadInput) as caught:
        check_kinds(["pass-key"])
    assert caught.value.code == "evaluation.unknown-retrieval" and "'pass-key'" in str(caught.value)
    with pytest.raises(BadInput) as caught:
        retrieval(Knows(400, 1), store, own, "passkey", [200], [1.5])
    assert caught.value.code == "evaluation.depth-out-of-range"
    blind = Knows(400, 1)
    blind.config = ModelConfig(causal=False)
    with pytest.raises(BadInput) as caught:
        retrieval(blind, store, own, "passkey", [200])
    assert caught.value.code == "evaluation.bidirectional"
    with pytest.raises(BadInput) as caught:
        haystack(*text_of("characters", "abc " * 50)).alphabet  # noqa: B018
    assert caught.value.code == "evaluation.too-few-letters"


def test_wilson() -> None:
    low, high = wilson(0.0, 8)
    assert low == 0.0 and high == pytest.approx(0.3244, abs=1e-3)
    assert wilson(0.5, 10**6) == pytest.approx((0.499, 0.501), abs=1e-4)


def test_without_letters_keys_cannot_be_and_recall_can() -> None:
    """A fine-tuned run must not end without its measurements."""
    text = "".join(np.random.default_rng(1).choice(list("абвгдежзиклмно "), 4000))
    store, own = text_of("characters", text)
    model = Copier(own.vocabulary_size)
    (passkey,) = retrieval(model, store, own, "passkey", [200], [0.5], examples=2)
    assert passkey.cannot is not None and "single letters" in passkey.cannot
    (found,) = retrieval(model, store, own, "recall", [20], [0.5], examples=2)
    assert found.cannot is None


def test_letters_of_keys_are_single_letters() -> None:
    class Words:
        """Encodes no digit as one token, and has words among its tokens."""

        def encode(self, text: str) -> list[int]:
            return [0, 0]

        def decode(self, ids: list[int]) -> str:
            return ["ab", "", *"stuvwxyzab", "no"][ids[0]]

    alphabet = _alphabet(Words(), np.arange(13))  # type: ignore[arg-type]
    assert alphabet.tolist() == list(range(2, 12))


def test_digits_that_are_all_unknown_are_no_symbols() -> None:
    class Unknown:
        """Has letters, and one token for everything else."""

        def encode(self, text: str) -> list[int]:
            return [0]

        def decode(self, ids: list[int]) -> str:
            return ["?", *"abcdefghij"][ids[0]]

    alphabet = _alphabet(Unknown(), np.arange(11))  # type: ignore[arg-type]
    assert alphabet.tolist() == list(range(1, 11))
