"""Sentences as vectors, and whether a model tells two orders of the same words apart.

    words   the mean of the token embeddings: a bag of words, the same in every order
    mean    the mean of the final hidden states
    last    the final hidden state of the last token, which has read all of them

Sentences are read as documents are in training, after the end-of-text token, which itself is in
none of these, and with a blank before their first word: a tokenizer spells a word at the very
beginning with another token than elsewhere, and two orders would hold different tokens. Text
without spaces has no blank before it either, and its tokens are put in another order, not its
words.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from wordorder.errors import BadInput
from wordorder.model import TokenModel
from wordorder.text.tokenizer import Tokenizer
from wordorder.text.user_text import printable, read_text
from wordorder.text.words import is_unspaced
from wordorder.words.vectors import Floats, Neighbour, best, unit

KINDS = {
    "words": "mean of the token embeddings",
    "mean": "mean of the final hidden states",
    "last": "final hidden state of the last token",
}
TOKENS_AT_ONCE = 8192

# Vectors of the same things differ by less where sums are taken in another order: float32.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Apart:
    """How far two vectors are from each other.

    Args:
        cosine: 1 where they point the same way.
        distance: between their ends.
        relative: the distance, as a share of their mean length.
    """

    cosine: float
    distance: float
    relative: float

    @property
    def same(self) -> bool:
        """Whether the two are one, to rounding."""
        return self.relative <= ROUNDING

    @classmethod
    def of(cls, first: Floats, second: Floats) -> Apart:
        """Return how far two vectors (dimensions,) are from each other."""
        first, second = first.astype(np.float64), second.astype(np.float64)
        sizes = np.linalg.norm(first), np.linalg.norm(second)
        distance = float(np.linalg.norm(first - second))
        cosine = float(first @ second / (sizes[0] * sizes[1] or 1.0))
        return cls(cosine, distance, distance / (float(sum(sizes)) / 2 or 1.0))


def read_sentences(path: str | Path) -> list[str]:
    """Return the lines of a file that are not empty.

    Raises:
        BadInput: no such file, one that is no text, or an empty one.
    """
    source = printable(path)
    text = read_text(path, f"no such file: {source}; give one with a sentence on each line")
    sentences = [line.strip() for line in text.split("\n") if line.strip()]
    if not sentences:
        raise BadInput(f"{source} is empty: give a file with a sentence on each line")
    return sentences


def tokens_of(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the tokens of a sentence as it stands in a text: after a blank, if it has any.

    White space alone is no sentence and has none.
    """
    if not text.strip():
        return []
    tokens = tokenizer.encode(text)  # tells where a character is that it does not know
    return tokenizer.encode(f" {text}") if _has_words(tokenizer, text) else tokens


class Order(NamedTuple):
    """A sentence in another order.

    Args:
        unit: what was reversed: words, or tokens in text without spaces; "" if it was given.
    """

    text: str
    tokens: list[int]
    unit: Literal["words", "tokens", ""]


def other_order(tokenizer: Tokenizer, text: str, other: str | None = None) -> Order:
    """Return a given order of a sentence, or else its words reversed; without spaces its tokens.

    "AI love I" of "I love AI".
    """
    if other is not None:
        return Order(other, tokens_of(tokenizer, other), "")
    if _has_words(tokenizer, text):
        other = " ".join(reversed(text.split()))
        return Order(other, tokens_of(tokenizer, other), "words")
    pieces = list(_pieces(tokenizer, text))[::-1]
    tokens = [token for _, piece in pieces for token in piece]
    return Order("".join(spelt for spelt, _ in pieces), tokens, "tokens")


def _has_words(tokenizer: Tokenizer, text: str) -> bool:
    if is_unspaced(text):
        return False
    try:
        tokenizer.encode(" ")
        return True
    except BadInput:  # characters of a text without spaces
        return False


def _pieces(tokenizer: Tokenizer, text: str) -> Iterator[tuple[str, list[int]]]:
    """Yield the tokens of a text, those together that spell a part of one character."""
    held: list[int] = []
    for token in tokenizer.encode(text):
        held.append(token)
        spelt = tokenizer.decode(held)
        if spelt and "\ufffd" not in spelt:
            yield spelt, held
            held = []
    if held:
        yield tokenizer.decode(held), held


@torch.no_grad()
def sentence_vectors(
    model: TokenModel,
    tokenizer: Tokenizer,
    sentences: Sequence[str | Sequence[int]],
    progress: Callable[[float], Any] = lambda _: None,
) -> dict[str, Floats]:
    """Return the vectors (sentences, width) float32 of each kind in `KINDS`.

    Args:
        sentences: as text, or as the tokens of one.
        progress: called with the share that is done.

    Raises:
        BadInput: a sentence without a token, or longer than the model can read.
    """
    ids = [tokens_of(tokenizer, s) if isinstance(s, str) else list(s) for s in sentences]
    if [] in ids:
        raise BadInput(f"{sentences[ids.index([])]!r} holds no word of the tokenizer: leave it out")
    by_length = defaultdict(list)  # those of one length are read at once: none is padded
    for number, tokens in enumerate(ids):
        by_length[len(tokens)].append(number)
    by_kind = {kind: np.empty((len(ids), model.config.width), np.float32) for kind in KINDS}
    device, done = next(model.parameters()).device, 0
    for length, numbers in by_length.items():
        rows = max(1, TOKENS_AT_ONCE // (length + 1))
        for start in range(0, len(numbers), rows):
            some = numbers[start : start + rows]
            tokens = torch.tensor([[tokenizer.end_of_text, *ids[i]] for i in some], device=device)
            hidden = model.hidden(tokens)[:, 1:].float()
            words = model.embedding(tokens[:, 1:]).float()
            batch = {"words": words.mean(1), "mean": hidden.mean(1), "last": hidden[:, -1]}
            for kind, vectors in batch.items():
                by_kind[kind][some] = vectors.cpu().numpy()
            done += len(some)
            progress(done / len(ids))
    return by_kind


def nearest_sentences(
    sentences: Sequence[str], vectors: Floats, direction: Floats, count: int = 5
) -> list[Neighbour]:
    """Return the sentences whose vectors are nearest to a direction (width,), nearest first."""
    return best(sentences, unit(vectors) @ unit(direction), count)


def compare(
    model: TokenModel,
    tokenizer: Tokenizer,
    sentence: str,
    other: str | None = None,
    *,
    among: Sequence[str],
    count: int = 5,
    progress: Callable[[float], Any] = lambda _: None,
) -> dict[str, Any]:
    """Return how far a sentence is from another order of it, and the nearest of some sentences.

    Args:
        other: the other order; None: `other_order` makes one.
        among: sentences, of which the nearest `count` are returned by each kind of vector.
        progress: called with the share that is done.
    """
    order = other_order(tokenizer, sentence, other)
    second = order.tokens or order.text  # the message for one without a token has the text
    kinds = sentence_vectors(model, tokenizer, [sentence, second, *among], progress)
    apart = {kind: Apart.of(*rows[:2]) for kind, rows in kinds.items()}
    return {
        "sentence": sentence,
        "other": order.text,
        "reversed": order.unit,
        "kinds": KINDS,
        "apart": {kind: {**asdict(each), "same": each.same} for kind, each in apart.items()},
        "nearest": {
            kind: [n._asdict() for n in nearest_sentences(among, rows[2:], rows[0], count)]
            for kind, rows in kinds.items()
        },
    }
