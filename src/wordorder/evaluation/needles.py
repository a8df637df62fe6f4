"""Examples of retrieval tasks: a key hidden in real text, and a question for it at the end.

A key is a sequence of symbols from an alphabet of ten, inserted as token ids, so that the same
examples exist for every tokenizer. An example depends on the random generator, its length and the
depth of the key: 0 is the beginning, 1 just before the question.

    passkey            one sentence with a key (Mohtashami and Jaggi 2023, section 4.2)
    multi-key          four such sentences with different names; the question names one
    variable-tracking  a name has a key as its value, a second name the value of the first, ...
    recall             pairs of tokens; the first token of one pair is repeated (Arora et al. 2023)

Multi-key and variable-tracking are tasks of RULER (Hsieh et al. 2024, section 3), with words in
place of its identifiers. Models are not fine-tuned on such sentences: the score is zero-shot.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from wordorder.errors import BadInput
from wordorder.text.store import TokenStore
from wordorder.text.tokenizer import Tokenizer

Tokens = NDArray[np.int64]

SYMBOLS = 10
KEY_LENGTH = 5
NAMES = ("cat", "dog", "man", "sun", "sea", "box", "car", "bed")
KEYS = 4  # sentences of multi-key
HOPS = 2  # names of variable-tracking after the first one


class RetrievalExample(NamedTuple):
    """A text that ends in a question and its answer.

    Args:
        tokens: (length + 1,) int64; the model reads all but the last token.
        answer: the number of tokens at the end that form the answer.
        alphabet: (10,) int64, the tokens that an answer is made of.
    """

    tokens: Tokens
    answer: int
    alphabet: Tokens


@dataclass(frozen=True)
class Haystack:
    """The material of examples: real text, a tokenizer and symbols.

    Args:
        store: the real text that surrounds keys.
        tokenizer: encodes the sentences.
        common: token ids of the store, the most frequent first.
    """

    store: TokenStore
    tokenizer: Tokenizer
    common: Tokens

    @cached_property
    def alphabet(self) -> Tokens:
        """The symbols of keys, (10,) int64; recall does without them.

        Raises:
            BadInput: the tokenizer has fewer than ten single letters.
        """
        return _alphabet(self.tokenizer, self.common)

    def encode(self, text: str) -> Tokens:
        return np.array(self.tokenizer.encode(text), dtype=np.int64)

    def key(self, random: Generator) -> Tokens:
        return random.choice(self.alphabet, KEY_LENGTH)

    def stretch(self, random: Generator, size: int) -> Tokens:
        """Return `size` tokens of real text from a random place."""
        indices = random.integers(len(self.store)) + np.arange(size)
        return self.store.tokens[indices % len(self.store)].astype(np.int64)


def haystack(store: TokenStore, tokenizer: Tokenizer) -> Haystack:
    """Return the material for examples."""
    counts = np.bincount(store.tokens, minlength=store.vocabulary_size)
    counts[store.end_of_text] = 0
    common = np.argsort(-counts, kind="stable")[: int((counts > 0).sum())].astype(np.int64)
    return Haystack(store, tokenizer, common)


def _alphabet(tokenizer: Tokenizer, common: Tokens) -> Tokens:
    """Return the ten digits if each is one token, otherwise the ten most frequent letters."""
    try:
        digits = [tokenizer.encode(digit) for digit in string.digits]
    except BadInput:  # a character tokenizer of a text without digits
        digits = []
    distinct = {tuple(tokens) for tokens in digits}  # not all of them the unknown token
    if len(distinct) == SYMBOLS and all(len(tokens) == 1 for tokens in digits):
        return np.array(digits, dtype=np.int64)[:, 0]
    letters = [i for i in common if tokenizer.decode([int(i)]) in {*string.ascii_letters}]
    if len(letters) < SYMBOLS:
        raise BadInput(
            f"the tokenizer has {len(letters)} tokens that are single letters, and keys need "
            f"{SYMBOLS}: train with --tokenizer bpe or bytes",
            code="evaluation.too-few-letters",
        )
    return np.array(letters[:SYMBOLS], dtype=np.int64)


def passkey(hay: Haystack, random: Generator, length: int, depth: float) -> RetrievalExample:
    """Return a text with one key and a question for it."""
    key, question = hay.key(random), hay.encode(" The pass key is ")
    needle = np.concatenate([question, key, hay.encode(". Remember it.")])
    return _filled(hay, random, length, [(depth, needle)], question, key)


def multi_key(hay: Haystack, random: Generator, length: int, depth: float) -> RetrievalExample:
    """Return a text with several named keys and a question for one of them."""
    needles = []
    for number, name in enumerate(random.permutation(NAMES)[:KEYS]):
        key, question = hay.key(random), hay.encode(f" The pass key of the {name} is ")
        needle = np.concatenate([question, key, hay.encode(".")])
        needles.append((random.random() if number else depth, needle))
        if not number:
            question_and_key = question, key
    return _filled(hay, random, length, needles, *question_and_key)


def variable_tracking(
    hay: Haystack, random: Generator, length: int, depth: float
) -> RetrievalExample:
    """Return a text in which names have the values of other names, and ask for the last."""
    names, key = random.permutation(NAMES)[: HOPS + 1], hay.key(random)
    first = [hay.encode(f" The value of {names[0]} is "), key, hay.encode(".")]
    needles = [(depth, np.concatenate(first))]
    for number in range(HOPS):
        sentence = f" The value of {names[number + 1]} is the value of {names[number]}."
        later = depth + (1 - depth) * (number + 1) / (HOPS + 1)
        needles.append((later, hay.encode(sentence)))
    return _filled(hay, random, length, needles, hay.encode(f" The value of {names[-1]} is "), key)


def recall(hay: Haystack, random: Generator, length: int, depth: float) -> RetrievalExample:
    """Return pairs of a token and a symbol, then one of the tokens again.

    The first tokens are distinct: the most frequent ones after the symbols. If there are too few
    of them for the length, pairs other than the queried one are repeated.
    """
    values = hay.common[:SYMBOLS]
    firsts = hay.common[SYMBOLS:][: (length - 1) // 2]
    if length < 5:
        raise _too_short(length, 5)
    if len(firsts) < 2:
        raise BadInput(
            f"the text has {len(hay.common)} distinct tokens, and recall needs more than "
            f"{SYMBOLS + 1}: give more text",
            code="evaluation.too-few-distinct-tokens",
        )
    firsts = random.permutation(firsts)
    pairs = np.stack([firsts, random.choice(values, len(firsts))], 1)
    places = (length - 1) // 2
    asked = round(depth * (places - 1))
    if len(pairs) < places:
        once, others = pairs[0], pairs[1:]
        pairs = others[random.integers(len(others), size=places)]
        pairs[asked] = once
    before = hay.stretch(random, length - 1 - 2 * places)
    return RetrievalExample(np.concatenate([before, pairs.ravel(), pairs[asked]]), 1, values)


def _filled(
    hay: Haystack,
    random: Generator,
    length: int,
    needles: Sequence[tuple[float, Tokens]],
    question: Tokens,
    key: Tokens,
) -> RetrievalExample:
    """Return real text with needles at their depths, then the question and its answer."""
    fixed = sum(len(needle) for _, needle in needles) + len(question) + len(key)
    room = length + 1 - fixed
    if room < 0:
        raise _too_short(length, fixed - 1)
    filler, parts, done = hay.stretch(random, room), [], 0
    for depth, needle in sorted(needles, key=lambda needle: needle[0]):
        end = round(depth * room)
        parts += [filler[done:end], needle]
        done = end
    return RetrievalExample(
        np.concatenate([*parts, filler[done:], question, key]), len(key), hay.alphabet
    )


def _too_short(length: int, needed: int) -> BadInput:
    return BadInput(
        f"an example of {length} tokens is too short: this task needs {needed}",
        code="evaluation.example-too-short",
    )


Draw = Callable[[Haystack, Generator, int, float], RetrievalExample]
KINDS: dict[str, Draw] = {
    "passkey": passkey,
    "multi-key": multi_key,
    "variable-tracking": variable_tracking,
    "recall": recall,
}
