"""benchmarks/ngram.py: modified Kneser-Ney by hand, in dictionaries, and in closed form."""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from wordorder.text.load import load_corpus
from wordorder.text.store import open_store
from wordorder.text.tokenizer import make_tokenizer

ROOT = Path(__file__).parents[1]
SIZE = 7  # of the vocabulary; token 6 does not occur


@pytest.fixture(scope="module")
def ngram(monkeypatch_module: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch_module.syspath_prepend(ROOT / "benchmarks")
    import ngram

    return ngram


@pytest.fixture(scope="module")
def monkeypatch_module() -> pytest.MonkeyPatch:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def text() -> list[int]:
    """1,500 tokens, of which some are rare and each depends on the one before."""
    random, tokens = np.random.default_rng(0), [0]
    for _ in range(1499):
        shares = np.array([8, 5, 3, 2, 1, 0.2]) ** (1 + tokens[-1] % 3)
        tokens.append(int(random.choice(6, p=shares / shares.sum())))
    return tokens


def probability(model: object, context: list[int], token: int) -> float:
    """Return the probability of a token after a context, which opens a sequence."""
    (logs,) = model.log_probabilities([np.array([*context[1:], token])], context[0])
    return math.exp(logs[-1])


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_sum_to_one(ngram: ModuleType, text: list[int], order: int) -> None:
    model = ngram.KneserNey(ngram.count(np.array(text), 5, SIZE), order, SIZE)
    seen, unseen = text[100:104], [6, 6, 6, 6]
    for context in (seen, [6, *seen[1:]], [*seen[:-1], 6], unseen, [5, 5, 5, 5]):
        every = [probability(model, context, token) for token in range(SIZE)]
        assert min(every) > 0
        assert sum(every) == pytest.approx(1, abs=1e-12)


def test_four_tokens_by_hand(ngram: ModuleType) -> None:
    """A ring of a b a c. Continuations: a after b and c, b and c after a; discounts .5, 1, 1.5."""
    model = ngram.KneserNey(ngram.count(np.array([0, 1, 0, 2]), 2, 3), 2, 3)
    of_b = (1 - 0.5) / 4 + (1 + 0.5 + 0.5) / 4 / 3
    assert probability(model, [0], 1) == pytest.approx((1 - 0.5) / 2 + (0.5 + 0.5) / 2 * of_b)
    of_a = (2 - 1) / 4 + (1 + 0.5 + 0.5) / 4 / 3
    assert probability(model, [1], 0) == pytest.approx((1 - 0.5) / 1 + 0.5 / 1 * of_a)


def test_a_unigram_model_is_discounted_shares(ngram: ModuleType, text: list[int]) -> None:
    counts = Counter(text)
    model = ngram.KneserNey(ngram.count(np.array(text), 1, SIZE), 1, SIZE)
    for token in range(6):
        assert counts[token] >= 3
        expected = (counts[token] - 1.5 + 6 * 1.5 / SIZE) / len(text)
        assert probability(model, [0], token) == pytest.approx(expected)
    assert probability(model, [0], 6) == pytest.approx(6 * 1.5 / SIZE / len(text))


def test_the_discounts_are_those_of_chen_and_goodman(ngram: ModuleType) -> None:
    """Of 8, 4, 3, 2 n-grams with counts of 1, 2, 3, 4: Y is 1/2."""
    counts = np.repeat([1, 2, 3, 4, 9], [8, 4, 3, 2, 5])
    expected = [0, 1 - 2 * 0.5 * 4 / 8, 2 - 3 * 0.5 * 3 / 4, 3 - 4 * 0.5 * 2 / 3]
    assert ngram.discounts(counts) == pytest.approx(expected)
    assert ngram.discounts(np.array([1, 2, 5])).tolist() == [0, *ngram.FALLBACK]


def in_dictionaries(ngram: ModuleType, text: list[int], order: int) -> dict[tuple[int, ...], float]:
    """Return P(w | u, v) for all u, v, w, as keys (u, v, w), from dictionaries."""
    size, ring = len(text), [*text, *text, *text]
    occur = {
        n: Counter(tuple(ring[size + i - n + 1 : size + i + 1]) for i in range(size))
        for n in range(1, order + 1)
    }
    used = {n: Counter(g[1:] for g in occur[n + 1]) for n in range(1, order)} | {
        order: occur[order]
    }
    taken = {n: ngram.discounts(np.array(list(used[n].values()))) for n in used}

    def of(context: tuple[int, ...], token: int) -> float:
        n = len(context) + 1
        below = of(context[1:], token) if context else 1 / SIZE
        after = {g[-1]: c for g, c in used[n].items() if g[:-1] == context}
        if not after:
            return below
        left = sum(taken[n][min(c, 3)] for c in after.values())
        own = after.get(token, 0)
        return (own - taken[n][min(own, 3)] + left * below) / sum(after.values())

    return {g: of(g[:-1], g[-1]) for g in product(range(SIZE), repeat=order)}


@pytest.mark.parametrize("order", [2, 3])
def test_the_model_is_that_of_dictionaries(ngram: ModuleType, text: list[int], order: int) -> None:
    model = ngram.KneserNey(ngram.count(np.array(text), order, SIZE), order, SIZE)
    expected = in_dictionaries(ngram, text, order)
    for n_gram, value in expected.items():
        assert probability(model, [*n_gram[:-1]], n_gram[-1]) == pytest.approx(value)


def test_a_sequence_has_no_context_before_its_opening(ngram: ModuleType, text: list[int]) -> None:
    model = ngram.KneserNey(ngram.count(np.array(text), 3, SIZE), 3, SIZE)
    first, second = np.array([1, 2, 0]), np.array([3, 0])
    together = model.log_probabilities([first, second], 0)
    for each, logs in zip((first, second), together, strict=True):
        (alone,) = model.log_probabilities([each], 0)
        assert logs.tolist() == alone.tolist()


def test_ties_count_half_and_not_in_the_official_way(ngram: ModuleType) -> None:
    change = torch.tensor([1.0, -1.0, 0.0, 0.0005], dtype=torch.float64)
    assert ngram.accuracies(change) == {"accuracy": 0.5, "official": 0.5}
    assert ngram.accuracies(change[:3]) == {"accuracy": 0.5, "official": pytest.approx(1 / 3)}


def test_texts_and_pairs_are_scored_with_their_ends(ngram: ModuleType, tmp_path: Path) -> None:
    """A model of one sentence prefers it to its words in another order; a tie is a tie."""
    (tmp_path / "text.txt").write_text("the cat sat. " * 50)
    corpus = load_corpus(str(tmp_path / "text.txt"))
    tokenizer = make_tokenizer("bytes", corpus)
    store = open_store(corpus, tokenizer)
    tokens = np.asarray(store.tokens).astype(np.int64)
    model = ngram.KneserNey(ngram.count(tokens, 3, store.vocabulary_size), 3, store.vocabulary_size)
    pairs = [("the cat sat.", "the sat cat."), ("the cat sat.", "the cat sat.")]
    lines = [json.dumps({"sentence_good": good, "sentence_bad": bad}) for good, bad in pairs]
    with gzip.open(tmp_path / "order.jsonl.gz", "wt") as file:
        file.write("\n".join(lines))
    assert ngram.blimp(model, tokenizer, tmp_path) == {"order": {"accuracy": 0.75, "official": 0.5}}
    measured = ngram.of_text(model, store)
    (logs,) = model.log_probabilities([tokens], store.end_of_text)
    assert measured["loss"] == pytest.approx(-logs.mean())
    assert measured["bits_per_byte"] == pytest.approx(-logs.sum() / math.log(2) / store.bytes)
    assert measured["by_document"]["weights"] == [len(tokens)] == [store.bytes + 1]
