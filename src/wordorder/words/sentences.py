"""Sentences as vectors, and whether a model tells two orders of the same words apart.

    words   the mean of the token embeddings: a bag of words, the same in every order
    mean    the mean of the final hidden states
    last    the final hidden state of the last token, which has read all of them

Sentences are read as documents are in training, after the end-of-text token, which itself is in
none of these, and with a blank before their first word: a tokenizer spells a word at the very
beginning with another token than elsewhere, and two orders would hold different tokens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wordorder.errors import BadInput
from wordorder.model import TokenModel
from wordorder.text.tokenizer import Tokenizer
from wordorder.words.vectors import Floats, Neighbour, Vectors, best, unit

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
        BadInput: no such file, one that is no UTF-8, or an empty one.
    """
    path = Path(path).expanduser()
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise BadInput(f"no such file: {path}; give one with a sentence on each line") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read as UTF-8 text: {error}") from None
    sentences = [line.strip() for line in lines if line.strip()]
    if not sentences:
        raise BadInput(f"{path} is empty: give a file with a sentence on each line")
    return sentences


def reversed_words(text: str) -> str:
    """Return the words of a text from the last to the first: "AI love I" of "I love AI"."""
    return " ".join(reversed(text.split()))


@torch.no_grad()
def sentence_vectors(
    model: TokenModel,
    tokenizer: Tokenizer,
    sentences: Sequence[str],
    progress: Callable[[float], Any] = lambda _: None,
) -> dict[str, Floats]:
    """Return the vectors (sentences, width) float32 of each kind in `KINDS`.

    Args:
        progress: called with the share that is done.

    Raises:
        BadInput: a sentence without a token, or longer than the model can read.
    """
    ids = [tokenizer.encode(f" {sentence}") if sentence.strip() else [] for sentence in sentences]
    if [] in ids:
        raise BadInput(f"{sentences[ids.index([])]!r} holds no word of the tokenizer: leave it out")
    by_length = defaultdict(list)  # those of one length are read at once: none is padded
    for number, tokens in enumerate(ids):
        by_length[len(tokens)].append(number)
    found = {kind: np.empty((len(ids), model.config.width), np.float32) for kind in KINDS}
    device, done = next(model.parameters()).device, 0
    for length, numbers in by_length.items():
        rows = max(1, TOKENS_AT_ONCE // (length + 1))
        for start in range(0, len(numbers), rows):
            some = numbers[start : start + rows]
            tokens = torch.tensor([[tokenizer.end_of_text, *ids[i]] for i in some], device=device)
            hidden = model.hidden(tokens)[:, 1:].float()
            words = model.embedding(tokens[:, 1:]).float()
            made = {"words": words.mean(1), "mean": hidden.mean(1), "last": hidden[:, -1]}
            for kind, vectors in made.items():
                found[kind][some] = vectors.cpu().numpy()
            done += len(some)
            progress(done / len(ids))
    return found


def nearest_sentences(
    sentences: Sequence[str], vectors: Floats, direction: Floats, count: int = 5
) -> list[Neighbour]:
    """Return the sentences whose vectors are nearest to a direction (width,), nearest first."""
    among = Vectors.of("sentences", sentences, vectors)
    return best(among, among.along(unit(direction[None]))[0], count)
