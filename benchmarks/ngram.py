"""The n-gram row of the ten-million-word table: interpolated modified Kneser-Ney.

    python benchmarks/ngram.py --data FOLDER --text FOLDER
        [--out evidence/ten-million-words/ngram.json]

--text is the folder `text` that ten_million_words.py writes: training/, validation/ and
tokenizer.json. --data is that program's folder, with blimp/ and wikitext2-test.txt. The row is of
order 5, which was chosen before the first run; the lower orders are printed beside it. All is
estimated from counts of the training text; nothing is fitted on held-out text.

The conventions are those of the other rows: the same tokens; a document is read after an
end-of-text token, and its own end-of-text is predicted too; so is a sentence of BLiMP.

Source: Chen and Goodman 1998, An Empirical Study of Smoothing Techniques for Language Modeling,
section 4.1 (modified Kneser-Ney; the discounts from counts of counts: equation 26).
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ten_million_measures import accuracies
from ten_million_words import commit, rounded

import wordorder as wo
from wordorder.evaluation.preferences import read_pairs
from wordorder.text.load import load_corpus
from wordorder.text.store import TokenStore, open_store
from wordorder.text.tokenizer import Tokenizer
from wordorder.training.compute import processor_name

ORDER = 5
# Discounts where counts of 1 to 4 do not all occur, as for the unigrams of a small vocabulary, or
# give no discount between 0 and the count: those of KenLM's --discount_fallback.
FALLBACK = (0.5, 1.0, 1.5)

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class NGrams:
    """The distinct n-grams of one order.

    Args:
        keys: ascending; each is the index of the first n - 1 tokens among the n-grams of that
            order, times the size of the vocabulary, plus the last token.
        counts: how often each occurs.
        continuations: how many different tokens occur before each; 0 for the highest order.
    """

    keys: Integers
    counts: Integers
    continuations: Integers

    def find(self, keys: Integers) -> Integers:
        """Return the index of each n-gram, or -1 for one that does not occur."""
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, at, -1)


def count(tokens: Integers, order: int, vocabulary_size: int) -> list[NGrams]:
    """Return the n-grams of each order from 1 to `order`.

    The text is a ring, as in training: the last token stands before the first. So every n-gram
    has a token before and after it, and no count is special.
    """
    orders: list[NGrams] = []
    # At each place the index of the n-gram, and of the shorter one, that ends there.
    ending = shorter = np.zeros_like(tokens)
    for _ in range(order):
        keys, first, ending, counts = np.unique(
            np.roll(ending, 1) * vocabulary_size + tokens,
            return_index=True,
            return_inverse=True,
            return_counts=True,
        )
        if orders:  # each distinct n-gram is another token before a distinct shorter one
            sizes = len(orders[-1].counts)
            orders[-1].continuations[:] = np.bincount(shorter[first], minlength=sizes)
        shorter = ending
        orders.append(NGrams(keys, counts, np.zeros_like(counts)))
    return orders


def discounts(counts: Integers) -> Floats:
    """Return what is taken from counts of 0, 1, 2, and 3 or more."""
    of_counts = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].astype(float)
    if of_counts.all():
        share = of_counts[0] / (of_counts[0] + 2 * of_counts[1])
        taken = [n - (n + 1) * share * of_counts[n] / of_counts[n - 1] for n in (1, 2, 3)]
        if all(0 <= each <= n for n, each in enumerate(taken, start=1)):
            return np.array([0.0, *taken])
    return np.array([0.0, *FALLBACK])


class KneserNey:
    """An n-gram model with interpolated modified Kneser-Ney smoothing.

    P(w | h) = (c(hw) - D(c(hw)) + P(w | h') * the sum of D(c(hv)) over all v) / the sum of c(hv)

    where h' is h without its first token, and c counts the occurrences of an n-gram of the highest
    order, and the different tokens before a shorter one. Below the unigrams is the uniform
    distribution; a context that does not occur is left out.

    Args:
        orders: the n-grams, of at least `order`.
        order: of the model.
    """

    def __init__(self, orders: Sequence[NGrams], order: int, vocabulary_size: int) -> None:
        self.orders = orders[:order]
        self.vocabulary_size = vocabulary_size
        self.discounted, self.totals, self.left_over = [], [], []
        for number, ngrams in enumerate(self.orders, start=1):
            counts = ngrams.counts if number == order else ngrams.continuations
            taken = discounts(counts)[np.minimum(counts, 3)]
            self.discounted.append(counts - taken)
            contexts = ngrams.keys // vocabulary_size
            self.totals.append(np.bincount(contexts, counts))
            self.left_over.append(np.bincount(contexts, taken))

    def log_probabilities(self, sequences: Sequence[Integers], opening: int) -> list[Floats]:
        """Return the natural logarithm of the probability of each token of each sequence.

        Args:
            opening: the token before each sequence; before it there is no context.
        """
        places = np.cumsum([0, *map(len, sequences)])[:-1]
        tokens = np.insert(np.concatenate(sequences), places, opening)
        openings = places + np.arange(len(places))
        probabilities = np.full(len(tokens), 1 / self.vocabulary_size)
        contexts = np.zeros_like(tokens)
        for ngrams, discounted, totals, left_over in zip(
            self.orders, self.discounted, self.totals, self.left_over, strict=True
        ):
            at = ngrams.find(contexts * self.vocabulary_size + tokens)  # -1 in no context: below 0
            known = contexts >= 0
            context = contexts[known]
            own = np.where(at >= 0, discounted[at], 0.0)[known]
            shorter = left_over[context] * probabilities[known]
            probabilities[known] = (own + shorter) / totals[context]
            contexts = np.roll(at, 1)
            contexts[openings] = -1
        logarithms = np.log(np.delete(probabilities, openings))
        return np.split(logarithms, places[1:])


def main() -> None:
    options = _options()
    start = time.process_time()
    tokenizer = Tokenizer.load(options.text)
    training = opened(options.text / "training", tokenizer)
    tokens = np.asarray(training.tokens).astype(np.int64)
    orders = count(tokens, ORDER, training.vocabulary_size)
    validation = opened(options.text / "validation", tokenizer)
    bits = {}
    for order in range(1, ORDER + 1):
        model = KneserNey(orders, order, training.vocabulary_size)
        bits[order] = of_text(model, validation)["bits_per_byte"]
        print(f"order {order}: {bits[order]:.4f} bits per byte")
    line = {
        "position": "n-gram",
        "order": ORDER,
        **of_text(model, validation),
        "bits_per_byte_by_order": bits,
        "wikitext2_bits_per_byte": of_text(
            model, opened(options.data / "wikitext2-test.txt", tokenizer)
        )["bits_per_byte"],
        "blimp": blimp(model, tokenizer, options.data / "blimp"),
        "distinct": [len(ngrams.counts) for ngrams in orders],
        "tokens": len(tokens),
        "command": "python benchmarks/ngram.py --data FOLDER --text FOLDER",
        "cpu_seconds": round(time.process_time() - start),
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "machine": {"device": "cpu", "threads": 1, "processor": processor_name("cpu")},
        "wordorder": wo.__version__,
        "commit": commit(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(rounded(line)) + "\n", encoding="utf-8")


def opened(path: Path, tokenizer: Tokenizer) -> TokenStore:
    return open_store(load_corpus(str(path)), tokenizer)


def of_text(model: KneserNey, store: TokenStore) -> dict[str, Any]:
    """Return nats per token, bits per byte, and the loss of each document of a text."""
    documents = np.split(np.asarray(store.tokens).astype(np.int64), store.starts[1:])
    losses = [-each for each in model.log_probabilities(documents, store.end_of_text)]
    total = float(sum(each.sum() for each in losses))
    return {
        "loss": total / store.targets,
        "bits_per_byte": total / math.log(2) / store.bytes,
        "by_document": {
            "losses": [float(each.mean()) for each in losses],
            "weights": [len(each) for each in losses],
        },
    }


def blimp(model: KneserNey, tokenizer: Tokenizer, folder: Path) -> dict[str, dict[str, float]]:
    """Return the accuracies of each paradigm, as ten_million_words.py does for its models."""
    scores = {}
    for path in sorted(folder.glob("*.jsonl.gz")):
        pairs = read_pairs(str(path))
        good, bad = (
            model.log_probabilities(
                [np.array([*tokenizer.encode(text), tokenizer.end_of_text]) for text in texts],
                tokenizer.end_of_text,
            )
            for texts in ([pair.good for pair in pairs], [pair.bad for pair in pairs])
        )
        change = [float(g.sum() - b.sum()) for g, b in zip(good, bad, strict=True)]
        scores[path.name.removesuffix(".jsonl.gz")] = accuracies(torch.tensor(change))
    return scores


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("evidence/ten-million-words/ngram.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
