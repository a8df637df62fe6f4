"""Algorithmic tasks, with which the literature measures length generalisation.

Each task is a function of a random generator and a length. The answer follows from the prompt, so
no knowledge is needed, and longer examples differ only in length. An example has the form

    start  prompt  answer-mark  answer  end

and the end is part of the answer, because knowing when to stop is half of repeating a token. In
associative recall and flip-flop, questions and answers alternate. Only answers are trained on and
scored.

A task may provide positions for its examples, which embeddings such as `coupled+learned` take.

Not here: index hints, scratchpads and padded numbers, with which papers make tasks easier.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import SupportsInt

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from wordorder.errors import BadInput

START, ANSWER, END = 0, 1, 2
MARKS = ("start", "->", "end")
FIRST_SYMBOL = len(MARKS)

LETTERS = "abcdefghijklmnopqrstuvwxyz"
BLANK = "_"
WRITE, READ, IGNORE = 2, 3, 4  # after the two bits


@dataclass(frozen=True)
class Example:
    """One example of a task.

    Args:
        tokens: (time,) int64, prompt and answer.
        answered: (time,) bool, which tokens belong to the answer.
    """

    tokens: NDArray[np.int64]
    answered: NDArray[np.bool_]


# (random, length, symbols) -> an example of exactly this length
Draw = Callable[[Generator, int, int], Example]
# an example -> the position of each of its tokens (time,), which the tokens so far determine
Coupling = Callable[[Example], NDArray[np.int64]]


@dataclass(frozen=True)
class Trial:
    """One test of a trained model.

    Args:
        name: such as 1.5x.
        factor: the length relative to the trained length.
        draw: generates examples; None: as in training.
        beyond: whether such examples do not occur in training.
    """

    name: str
    factor: float = 1.0
    draw: Draw | None = None
    beyond: bool = True

    def length(self, trained: int) -> int:
        """Return the tested length, rounded up."""
        return math.ceil(self.factor * trained)


LENGTHS = (Trial("1x", beyond=False), Trial("1.5x", 1.5), Trial("2x", 2.0), Trial("3x", 3.0))


@dataclass(frozen=True)
class Task:
    """An algorithmic task.

    Args:
        asks: a short description.
        counts: the unit of its length.
        source: the paper with this task or a similar one.
        draw: generates an example of a length.
        tokens: returns the most tokens of an example of a length.
        length: the default of the longest trained length.
        letters: symbols that are printed as letters.
        numbers: returns the number of further symbols for the longest tested length.
        varied: whether it is trained on all lengths from 1, or on the longest only.
        trials: the tests.
        beyond: describes the tests unlike training.
        part: the name of a part of an answer; "": accuracy of parts is not reported.
        by_part: whether the score is the accuracy of parts, not of whole answers.
        chance: the score of a model that knows only the form of the answer.
        coupling: returns the positions of an example for embeddings that take them from the
            task; None: the task has none.
    """

    asks: str
    counts: str
    source: str
    draw: Draw
    tokens: Callable[[int], int]
    length: int
    letters: str = ""
    numbers: Callable[[int], int] = field(default=lambda longest: 0)
    varied: bool = True
    trials: tuple[Trial, ...] = LENGTHS
    beyond: str = "beyond the trained length"
    part: str = ""
    by_part: bool = False
    chance: float = 0.0
    coupling: Coupling | None = None

    def longest(self, trained: int) -> int:
        """Return the longest tested length."""
        return max(trial.length(trained) for trial in self.trials)

    def symbols(self, trained: int) -> int:
        """Return the number of symbols, those of the longest test included."""
        return len(self.letters) + self.numbers(self.longest(trained))

    def written(self, example: Example) -> str:
        """Return an example as text."""
        return " ".join(self._word(int(token)) for token in example.tokens)

    def _word(self, token: int) -> str:
        if token < FIRST_SYMBOL:
            return MARKS[token]
        symbol = token - FIRST_SYMBOL
        is_letter = symbol < len(self.letters)
        return self.letters[symbol] if is_letter else str(symbol - len(self.letters))


def find(name: str) -> Task:
    """Return a task by its name.

    Raises:
        BadInput: the name is unknown; the message suggests a similar one.
    """
    if name not in TASKS:
        near = difflib.get_close_matches(name, TASKS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(TASKS)}"
        raise BadInput(f"unknown task {name!r}: {hint}", code="experiments.unknown-task")
    return TASKS[name]


def _framed(prompt: Iterable[SupportsInt], answer: Iterable[SupportsInt]) -> Example:
    """Return the example of a prompt and an answer, both symbols from 0."""
    question = [START, *(FIRST_SYMBOL + int(s) for s in prompt), ANSWER]
    tokens = [*question, *(FIRST_SYMBOL + int(s) for s in answer), END]
    return Example(np.array(tokens), np.arange(len(tokens)) >= len(question))


def _copy(random: Generator, length: int, symbols: int) -> Example:
    chosen = random.permutation(symbols)[:length]
    return _framed(chosen, chosen)


def _repeat(random: Generator, length: int, symbols: int) -> Example:
    same = [random.integers(symbols)] * length
    return _framed(same, same)


def _reverse(random: Generator, length: int, symbols: int) -> Example:
    chosen = random.integers(symbols, size=length)
    return _framed(chosen, chosen[::-1])


def _sort(random: Generator, length: int, symbols: int) -> Example:
    chosen = random.permutation(symbols)[:length]
    return _framed(chosen, np.sort(chosen))


def _addition(random: Generator, length: int, symbols: int) -> Example:
    return _sum(random, length, step=-1)


def _addition_reversed(random: Generator, length: int, symbols: int) -> Example:
    return _sum(random, length, step=1)


def _sum(random: Generator, length: int, step: int) -> Example:
    """Return a + b = c, digits from the least significant, or with step -1 from the most."""
    plus = 10
    a, b = (_number(random, length) for _ in range(2))
    digits, carry = [], 0
    for x, y in zip(a, b, strict=True):
        carry, digit = divmod(x + y + carry, 10)
        digits.append(digit)
    total = [*digits, carry] if carry else digits
    return _framed([*a[::step], plus, *b[::step]], total[::step])


PLUS = FIRST_SYMBOL + 10


def _significance(example: Example) -> NDArray[np.int64]:
    """Return the place of each digit in its number, from 1 for ones; 0 of all other tokens.

    Numbers begin with the least significant digit.

        start 4 5 7 + 0 1 8 -> 4 6 5 1 end
        0     1 2 3 0 1 2 3 0  1 2 3 4 0
    """
    tokens = example.tokens
    indices = np.arange(len(tokens))
    marks = (tokens < FIRST_SYMBOL) | (tokens == PLUS)
    return indices - np.maximum.accumulate(np.where(marks, indices, 0))


def _number(random: Generator, length: int) -> list[int]:
    """Return the digits of a number, least significant first; the last is not 0, unless alone."""
    least = 1 if length > 1 else 0
    return [*random.integers(10, size=length - 1).tolist(), int(random.integers(least, 10))]


def _parity(random: Generator, length: int, symbols: int) -> Example:
    bits = random.integers(2, size=length)
    return _framed(bits, [bits.sum() % 2])


def _count(random: Generator, length: int, symbols: int) -> Example:
    first = int(random.integers(symbols - length + 1))
    return _framed([first, first + length - 1], range(first, first + length))


VALUES = 16


def _recall(random: Generator, length: int, symbols: int) -> Example:
    """Pairs of key and value, then every key again with its value, in another order."""
    keys = VALUES + random.permutation(symbols - VALUES)[:length]
    pairs = FIRST_SYMBOL + np.stack([keys, random.integers(VALUES, size=length)], axis=1)
    queries = random.permutation(pairs)
    tokens = np.array([START, *pairs.ravel(), ANSWER, *queries.ravel()])
    answered = np.zeros(len(tokens), bool)
    answered[-1 : -2 * length : -2] = True
    return Example(tokens, answered)


def _selective_copy(random: Generator, length: int, symbols: int) -> Example:
    """Symbols to copy, mixed with equally many blanks."""
    blank = symbols - 1
    prompt = np.full(2 * length, blank)
    chosen = random.integers(blank, size=length)
    prompt[np.sort(random.permutation(2 * length)[:length])] = chosen
    return _framed(prompt, chosen)


def _flip_flop(ignored: float) -> Draw:
    """Instructions write, read or ignore, each with a bit; a read's bit is the last written one.

    The first instruction is a write and the last a read; between them `ignored` is the probability
    of an ignore, and write and read share the rest.
    """

    def draw(random: Generator, length: int, symbols: int) -> Example:
        rest = (1 - ignored) / 2
        middle = random.choice([WRITE, READ, IGNORE], size=length - 1, p=[rest, rest, ignored])
        instructions = np.array([WRITE, *middle, READ])
        bits = random.integers(2, size=length + 1)
        writes = np.where(instructions == WRITE, np.arange(length + 1), 0)
        reads = instructions == READ
        bits[reads] = bits[np.maximum.accumulate(writes)][reads]
        pairs = FIRST_SYMBOL + np.stack([instructions, bits], axis=1).ravel()
        answered = np.stack([np.zeros_like(reads), reads], axis=1).ravel()
        return Example(np.array([START, *pairs]), np.array([False, *answered]))

    return draw


TASKS: dict[str, Task] = {
    "copy": Task(
        asks="copy distinct tokens",
        counts="tokens to copy",
        source="Zhou et al. 2023, What Algorithms can Transformers Learn?: copy, unique tokens",
        draw=_copy,
        tokens=lambda n: 2 * n + 3,
        length=10,
        numbers=lambda longest: max(16, longest),
    ),
    "repeat": Task(
        asks="repeat one token as often as in the prompt, which is counting",
        counts="repetitions",
        source="Kazemnejad et al. 2023: the copy of one token, in the best-known figure",
        draw=_repeat,
        tokens=lambda n: 2 * n + 3,
        length=10,
        letters=LETTERS,
    ),
    "reverse": Task(
        asks="reverse tokens",
        counts="tokens to reverse",
        source="Kazemnejad et al. 2023, Positional Encoding and Length Generalization",
        draw=_reverse,
        tokens=lambda n: 2 * n + 3,
        length=10,
        letters=LETTERS,
    ),
    "sort": Task(
        asks="sort distinct tokens",
        counts="tokens to sort",
        source="Zhou et al. 2023, What Algorithms can Transformers Learn?: sort",
        draw=_sort,
        tokens=lambda n: 2 * n + 3,
        length=10,
        numbers=lambda longest: 2 * max(16, longest),
    ),
    "addition": Task(
        asks="add two numbers of equal length, most significant digit first",
        counts="digits of each number",
        source="Kazemnejad et al. 2023, Positional Encoding and Length Generalization",
        draw=_addition,
        tokens=lambda n: 3 * n + 5,
        length=5,
        letters="0123456789+",
        part="digit",
    ),
    "addition-reversed": Task(
        asks="add two numbers of equal length, least significant digit first",
        counts="digits of each number",
        source="Lee et al. 2023, Teaching Arithmetic to Small Transformers; McLeish et al. 2024",
        draw=_addition_reversed,
        tokens=lambda n: 3 * n + 5,
        length=5,
        letters="0123456789+",
        part="digit",
        coupling=_significance,
    ),
    "parity": Task(
        asks="decide whether the number of ones is odd",
        counts="bits",
        source="Kazemnejad et al. 2023, Positional Encoding and Length Generalization",
        draw=_parity,
        tokens=lambda n: n + 4,
        length=10,
        letters="01",
        chance=0.5,
    ),
    "count": Task(
        asks="count from one number to another",
        counts="numbers to write",
        source="Zhou et al. 2023, What Algorithms can Transformers Learn?: count",
        draw=_count,
        tokens=lambda n: n + 5,
        length=10,
        numbers=lambda longest: 2 * longest,
    ),
    "associative-recall": Task(
        asks="recall the value paired with each key",
        counts="pairs of key and value",
        source="Arora et al. 2023, Zoology: multi-query associative recall",
        draw=_recall,
        tokens=lambda n: 4 * n + 2,
        length=8,
        letters=LETTERS[:VALUES],
        numbers=lambda longest: max(16, longest),
        part="value",
    ),
    "selective-copy": Task(
        asks="copy the tokens, skipping equally many blanks",
        counts="tokens to copy",
        source="Gu and Dao 2023, Mamba: selective copying; Golovneva et al. 2024",
        draw=_selective_copy,
        tokens=lambda n: 3 * n + 3,
        length=8,
        letters=LETTERS[:16] + BLANK,
    ),
    "flip-flop": Task(
        asks="output the last written bit at each read",
        counts="instructions after the first write",
        source="Liu et al. 2023, Exposing Attention Glitches with Flip-Flop Language Modeling",
        draw=_flip_flop(0.8),
        tokens=lambda n: 2 * n + 3,
        length=31,
        letters="01wri",
        varied=False,
        trials=(
            Trial("trained", beyond=False),
            Trial("sparse", draw=_flip_flop(0.98)),
            Trial("dense", draw=_flip_flop(0.1)),
        ),
        beyond="with other fractions of ignores",
        part="read",
        by_part=True,
        chance=0.5,
    ),
}
