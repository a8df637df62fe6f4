"""Texts in which something stands that is asked for at their end.

Real text fills them up; what is to be found again is a key of symbols from an alphabet of ten, put
in as token ids, so that the same examples can be made with any tokenizer. Each is a function of
what is drawn, its length and its depth, from 0, at the beginning, to 1, just before the question.

    passkey            one sentence with a key (Mohtashami and Jaggi 2023, section 4.2)
    multi-key          four such sentences with names, one of which is asked for
    variable-tracking  a name stands for a key, another for the first, a third for the second
    recall             pairs of tokens alone; the first of a pair comes again (Arora et al. 2023)

Multi-key and variable-tracking are tasks of RULER (Hsieh et al. 2024, section 3), with words in
place of its identifiers. Keys of digits and names of words are strange to a model that has seen
neither such sentences nor such questions: what it finds is what it does by itself.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
HOPS = 2  # of variable-tracking, after the first name


class Example(NamedTuple):
    """A text and the key that it ends in.

    Args:
        tokens: (length + 1,) int64; all but the last are read, the last ones are the answer.
        answer: how many tokens at the end are asked for.
        alphabet: (10,) int64, what its tokens are chosen from.
    """

    tokens: Tokens
    answer: int
    alphabet: Tokens


@dataclass(frozen=True)
class Haystack:
    """What texts are made of.

    Args:
        store: real text, of which stretches fill them up.
        tokenizer: spells the sentences.
        alphabet: (10,) int64, the symbols of keys.
        common: ids by how often the store has them, the commonest first.
    """

    store: TokenStore
    tokenizer: Tokenizer
    alphabet: Tokens
    common: Tokens

    def spelled(self, text: str) -> Tokens:
        return np.array(self.tokenizer.encode(text), dtype=np.int64)

    def key(self, random: Generator) -> Tokens:
        return random.choice(self.alphabet, KEY_LENGTH)

    def stretch(self, random: Generator, size: int) -> Tokens:
        """Return so many tokens of real text, from a place that is drawn."""
        places = random.integers(len(self.store)) + np.arange(size)
        return self.store.tokens[places % len(self.store)].astype(np.int64)


def haystack(store: TokenStore, tokenizer: Tokenizer) -> Haystack:
    """Return what texts are made of.

    Raises:
        BadInput: a tokenizer with fewer than ten single letters.
    """
    counts = np.bincount(store.tokens, minlength=store.vocabulary_size)
    counts[store.end_of_text] = 0
    common = np.argsort(-counts, kind="stable")[: int((counts > 0).sum())].astype(np.int64)
    return Haystack(store, tokenizer, _alphabet(tokenizer, common), common)


def _alphabet(tokenizer: Tokenizer, common: Tokens) -> Tokens:
    """Return the ten digits where each is one token, otherwise the ten commonest letters."""
    try:
        digits = [tokenizer.encode(digit) for digit in string.digits]
    except BadInput:  # characters that the text did not have
        digits = []
    if digits and all(len(each) == 1 for each in digits):
        return np.array(digits, dtype=np.int64)[:, 0]
    letters = [i for i in common if tokenizer.decode([int(i)]) in string.ascii_letters]
    if len(letters) < SYMBOLS:
        raise BadInput(
            f"the tokenizer has {len(letters)} letters that are tokens by themselves, and keys "
            f"are made of {SYMBOLS}: use --tokenizer bpe or bytes"
        )
    return np.array(letters[:SYMBOLS], dtype=np.int64)


def passkey(hay: Haystack, random: Generator, length: int, depth: float) -> Example:
    """Return a text with one key in it, asked for."""
    key, question = hay.key(random), hay.spelled(" The pass key is ")
    needle = np.concatenate([question, key, hay.spelled(". Remember it.")])
    return _filled(hay, random, length, [(depth, needle)], question, key)


def multi_key(hay: Haystack, random: Generator, length: int, depth: float) -> Example:
    """Return a text with several named keys in it, one of which is asked for."""
    needles = []
    for number, name in enumerate(random.permutation(NAMES)[:KEYS]):
        key, question = hay.key(random), hay.spelled(f" The pass key of the {name} is ")
        needle = np.concatenate([question, key, hay.spelled(".")])
        needles.append((random.random() if number else depth, needle))
        if not number:
            asked = question, key
    return _filled(hay, random, length, needles, *asked)


def variable_tracking(hay: Haystack, random: Generator, length: int, depth: float) -> Example:
    """Return a text in which names stand for names; the last one's key is asked for."""
    names, key = random.permutation(NAMES)[: HOPS + 1], hay.key(random)
    first = [hay.spelled(f" The value of {names[0]} is "), key, hay.spelled(".")]
    needles = [(depth, np.concatenate(first))]
    for number in range(HOPS):
        said = f" The value of {names[number + 1]} is the value of {names[number]}."
        later = depth + (1 - depth) * (number + 1) / (HOPS + 1)
        needles.append((later, hay.spelled(said)))
    return _filled(hay, random, length, needles, hay.spelled(f" The value of {names[-1]} is "), key)


def recall(hay: Haystack, random: Generator, length: int, depth: float) -> Example:
    """Return pairs of a token and a symbol, the first of one of which comes again at the end.

    Firsts are different, and the commonest tokens beside the symbols; where there are too few of
    them real text goes before.
    """
    values = hay.common[:SYMBOLS]
    firsts = hay.common[SYMBOLS:][: (length - 1) // 2]
    if length < 5:
        raise _too_short("recall", length, 5)
    if len(firsts) < 2:
        raise BadInput(
            f"the text has {len(hay.common)} kinds of tokens, and recall pairs {SYMBOLS} with "
            "others: give more text"
        )
    firsts = random.permutation(firsts)
    pairs = np.stack([firsts, random.choice(values, len(firsts))], 1)
    asked = pairs[round(depth * (len(pairs) - 1))]
    before = hay.stretch(random, length + 1 - 2 * len(pairs) - 2)
    return Example(np.concatenate([before, pairs.ravel(), asked]), 1, values)


def _filled(
    hay: Haystack,
    random: Generator,
    length: int,
    needles: Sequence[tuple[float, Tokens]],
    question: Tokens,
    key: Tokens,
) -> Example:
    """Return real text with needles at their depths, and the question with its answer."""
    fixed = sum(len(needle) for _, needle in needles) + len(question) + len(key)
    room = length + 1 - fixed
    if room < 0:
        raise _too_short("this", length, fixed - 1)
    filler, parts, done = hay.stretch(random, room), [], 0
    for depth, needle in sorted(needles, key=lambda each: each[0]):
        place = round(depth * room)
        parts += [filler[done:place], needle]
        done = place
    return Example(np.concatenate([*parts, filler[done:], question, key]), len(key), hay.alphabet)


def _too_short(what: str, length: int, needed: int) -> BadInput:
    return BadInput(f"{what} cannot be asked within {length} tokens: it needs {needed}")


Draw = Callable[[Haystack, Generator, int, float], Example]
KINDS: dict[str, Draw] = {
    "passkey": passkey,
    "multi-key": multi_key,
    "variable-tracking": variable_tracking,
    "recall": recall,
}
