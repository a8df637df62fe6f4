"""Sentence vectors, and whether a model distinguishes two orders of the same words.

    words   the mean of the token embeddings: a bag of words, equal for every order
    mean    the mean of the final hidden states
    last    the final hidden state of the last token, which has read all of them

Sentences are encoded as in training: after the end-of-text token, which is part of no mean, and
with a space before the first word. Without that space a byte-level tokenizer gives the first word
another token than elsewhere, and two orders would hold different tokens. A text without spaces gets
no space before it, and its tokens are reordered instead of its words.
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
from wordorder.words.vectors import Floats, best, unit

KINDS = {
    "words": "mean of the token embeddings",
    "mean": "mean of the final hidden states",
    "last": "final hidden state of the last token",
}
TOKENS_AT_ONCE = 8192

ROUNDING = 1e-5  # summing float32 numbers in another order changes less than this


@dataclass(frozen=True)
class Apart:
    """The difference between two vectors.

    Args:
        cosine: of the angle between them.
        distance: Euclidean distance.
        relative: the distance divided by their mean norm.
    """

    cosine: float
    distance: float
    relative: float

    @property
    def same(self) -> bool:
        """Whether the vectors are equal, up to rounding."""
        return self.relative <= ROUNDING

    @classmethod
    def of(cls, first: Floats, second: Floats) -> Apart:
        """Compare two vectors (dimensions,)."""
        first, second = first.astype(np.float64), second.astype(np.float64)
        norms = np.linalg.norm(first), np.linalg.norm(second)
        distance = float(np.linalg.norm(first - second))
        cosine = float(first @ second / (norms[0] * norms[1] or 1.0))
        return cls(cosine, distance, distance / (float(sum(norms)) / 2 or 1.0))


def read_sentences(path: str | Path) -> list[str]:
    """Return the lines of a file that are not empty.

    Raises:
        BadInput: the file does not exist, is not text, or is empty.
    """
    source = printable(path)
    text = read_text(path, f"no such file: {source}; give a file with a sentence on each line")
    sentences = [line.strip() for line in text.split("\n") if line.strip()]
    if not sentences:
        raise BadInput(
            f"{source} is empty: give a file with a sentence on each line",
            code="words.no-sentences",
        )
    return sentences


def tokens_of(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the tokens of a sentence, after a space if the text has spaces.

    Returns no tokens for white space alone.
    """
    if not text.strip():
        return []
    tokens = tokenizer.encode(text)  # first, so that an error gives the offset in `text`
    return tokenizer.encode(f" {text}") if _has_words(tokenizer, text) else tokens


class Order(NamedTuple):
    """A sentence in another order.

    Args:
        unit: what was reversed: words, or tokens in a text without spaces; "" if nothing was.
    """

    text: str
    tokens: list[int]
    unit: Literal["words", "tokens", ""]


def other_order(tokenizer: Tokenizer, text: str, other: str | None = None) -> Order:
    """Return the other order; by default the words reversed.

    "I love AI" becomes "AI love I". Without spaces, tokens are reversed.
    """
    if other is not None:
        return Order(other, tokens_of(tokenizer, other), "")
    if _has_words(tokenizer, text):
        other = " ".join(reversed(text.split()))
        return Order(other, tokens_of(tokenizer, other), "words")
    pieces = list(_pieces(tokenizer, text))[::-1]
    tokens = [token for _, piece in pieces for token in piece]
    return Order("".join(spelt for spelt, _ in pieces), tokens, "tokens")


def spaced_once(text: str, other: str | None = None) -> str:
    """Return a text that is to be reversed with single spaces, as its reversed words have them.

    Args:
        other: another order that is given; both are then read as they are, without outer spaces.
    """
    return text.strip() if other is not None or is_unspaced(text) else " ".join(text.split())


def _has_words(tokenizer: Tokenizer, text: str) -> bool:
    if is_unspaced(text):
        return False
    try:
        tokenizer.encode(" ")
        return True
    except BadInput:  # a character tokenizer of a text without spaces
        return False


def _pieces(tokenizer: Tokenizer, text: str) -> Iterator[tuple[str, list[int]]]:
    """Yield pieces of a text with their tokens; tokens of one character stay together."""
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
        sentences: texts, or their tokens.
        progress: called with the fraction done.

    Raises:
        BadInput: a sentence has no tokens, or more than the model has positions for.
    """
    ids = [tokens_of(tokenizer, s) if isinstance(s, str) else list(s) for s in sentences]
    if [] in ids:
        raise BadInput(
            f"{sentences[ids.index([])]!r} has no tokens: leave it out", code="words.empty-sentence"
        )
    by_length = defaultdict(list)  # sentences of one length form batches without padding
    for number, tokens in enumerate(ids):
        by_length[len(tokens)].append(number)
    by_kind = {kind: np.empty((len(ids), model.config.width), np.float32) for kind in KINDS}
    device, done = next(model.parameters()).device, 0
    for length, numbers in by_length.items():
        rows = max(1, TOKENS_AT_ONCE // (length + 1))
        for start in range(0, len(numbers), rows):
            batch = numbers[start : start + rows]
            rows_read = [[tokenizer.beginning_of_text, *ids[i]] for i in batch]
            inputs = torch.tensor(rows_read, device=device)
            hidden = model.hidden(inputs)[:, 1:].float()
            words = model.embedding(inputs[:, 1:]).float()
            pooled = {"words": words.mean(1), "mean": hidden.mean(1), "last": hidden[:, -1]}
            for kind, vectors in pooled.items():
                by_kind[kind][batch] = vectors.cpu().numpy()
            done += len(batch)
            progress(done / len(ids))
    return by_kind


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
    """Compare a sentence with another order of it, and find its nearest sentences.

    Args:
        other: the other order; None: reversed, see `other_order`.
        among: the sentences to search; `count` are returned for each kind of vector.
        progress: called with the fraction done.
    """
    sentence = spaced_once(sentence, other)
    order = other_order(tokenizer, sentence, other)
    second = order.tokens or order.text  # an error message shows the text, not an empty list
    kinds = sentence_vectors(model, tokenizer, [sentence, second, *among], progress)
    apart = {kind: Apart.of(*rows[:2]) for kind, rows in kinds.items()}
    return {
        "sentence": sentence,
        "other": order.text,
        "reversed": order.unit,
        "kinds": KINDS,
        "apart": {kind: {**asdict(gap), "same": gap.same} for kind, gap in apart.items()},
        "nearest": {
            kind: [n._asdict() for n in best(among, unit(rows[2:]) @ unit(rows[0]), count)]
            for kind, rows in kinds.items()
        },
    }
