"""The tasks: answers by other formulas, lengths exact, tokens distinct where that is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import default_rng

from wordorder.errors import BadInput
from wordorder.experiments.algorithms import (
    ANSWER,
    END,
    FIRST_SYMBOL,
    LENGTHS,
    START,
    TASKS,
    Example,
    Task,
    Trial,
    find,
)

TURNS = ("associative-recall", "flip-flop")  # questions and answers take turns
FRAMED = [name for name in TASKS if name not in TURNS]
lengths, seeds = st.integers(1, 24), st.integers(0, 2**32)


def words(task: Task, example: Example) -> tuple[list[str], list[str]]:
    """The prompt and the answer of an example, as people read them."""
    start, *middle, end = task.written(example).split()
    assert (start, end) == ("start", "end")
    at = middle.index("->")
    return middle[:at], middle[at + 1 :]


def digits(values: list[str]) -> int:
    return int("".join(values))


def added(prompt: list[str], turned: int = 1) -> list[str]:
    at = prompt.index("+")
    total = digits(prompt[:at][::turned]) + digits(prompt[at + 1 :][::turned])
    return list(str(total))[::turned]


# What each task asks, written anew; and its length, read off its prompt.
ANSWERS: dict[str, Callable[[list[str]], list[str]]] = {
    "copy": lambda prompt: prompt,
    "repeat": lambda prompt: prompt[:1] * len(prompt),
    "reverse": lambda prompt: list(reversed(prompt)),
    "sort": lambda prompt: [str(n) for n in sorted(map(int, prompt))],
    "addition": added,
    "addition-reversed": lambda prompt: added(prompt, -1),
    "parity": lambda prompt: [str(prompt.count("1") % 2)],
    "count": lambda prompt: [str(n) for n in range(int(prompt[0]), int(prompt[1]) + 1)],
    "selective-copy": lambda prompt: [word for word in prompt if word != "_"],
}
LENGTH_OF: dict[str, Callable[[list[str]], int]] = {
    "addition": lambda prompt: prompt.index("+"),
    "addition-reversed": lambda prompt: len(prompt) - 1 - prompt.index("+"),
    "count": lambda prompt: 1 + int(prompt[1]) - int(prompt[0]),
    "selective-copy": lambda prompt: len(prompt) // 2,
}


def drawn(name: str, seed: int, length: int) -> Example:
    task = TASKS[name]
    return task.draw(default_rng(seed), length, task.symbols(24))


@pytest.mark.parametrize("name", FRAMED)
@given(length=lengths, seed=seeds)
def test_the_answer_is_right_and_the_length_exact(name: str, length: int, seed: int) -> None:
    prompt, answer = words(TASKS[name], drawn(name, seed, length))
    assert answer == ANSWERS[name](prompt)
    assert LENGTH_OF.get(name, len)(prompt) == length


@pytest.mark.parametrize("name", FRAMED)
@given(length=lengths, seed=seeds)
def test_the_answer_begins_after_its_mark_and_ends_with_the_end(
    name: str, length: int, seed: int
) -> None:
    example = drawn(name, seed, length)
    at = example.tokens.tolist().index(ANSWER)
    assert example.tokens[0] == START and example.tokens[-1] == END
    assert example.answered.tolist() == [place > at for place in range(len(example.tokens))]


@pytest.mark.parametrize("name", TASKS)
@given(length=lengths, seed=seeds)
def test_no_token_is_beyond_the_vocabulary_and_no_example_too_long(
    name: str, length: int, seed: int
) -> None:
    example, task = drawn(name, seed, length), TASKS[name]
    assert example.tokens.dtype == np.int64 and example.answered.dtype == np.bool_
    assert example.tokens.min() >= 0 and example.tokens.max() < FIRST_SYMBOL + task.symbols(24)
    assert len(example.tokens) <= task.tokens(length)


@pytest.mark.parametrize("name", TASKS)
def test_some_example_is_as_long_as_is_said(name: str) -> None:
    longest = max(len(drawn(name, seed, 9).tokens) for seed in range(40))
    assert longest == TASKS[name].tokens(9)


@pytest.mark.parametrize("name", TASKS)
@given(length=lengths, seed=seeds)
def test_the_same_seed_gives_the_same_example(name: str, length: int, seed: int) -> None:
    one, other = drawn(name, seed, length), drawn(name, seed, length)
    assert one.tokens.tolist() == other.tokens.tolist()


@pytest.mark.parametrize("name", ["copy", "sort"])
@given(length=st.integers(1, 72), seed=seeds)
def test_distinct_tokens_are_distinct(name: str, length: int, seed: int) -> None:
    prompt, _ = words(TASKS[name], drawn(name, seed, length))
    assert len(set(prompt)) == length


@given(length=st.integers(1, 72), seed=seeds)
def test_every_key_is_asked_for_once_and_has_its_value(length: int, seed: int) -> None:
    example = drawn("associative-recall", seed, length)
    start, *told = TASKS["associative-recall"].written(example).split()
    at = told.index("->")
    told, asked = told[:at], told[at + 1 :]
    pairs = dict(zip(told[::2], told[1::2], strict=True))
    assert start == "start" and len(told) == 2 * length and len(pairs) == length
    assert sorted(asked[::2]) == sorted(pairs)
    assert asked[1::2] == [pairs[key] for key in asked[::2]]
    places = [2 * length + 3 + 2 * number for number in range(length)]
    assert np.flatnonzero(example.answered).tolist() == places


@pytest.mark.parametrize("ignored", [0.8, 0.98, 0.1])
@given(length=lengths, seed=seeds)
def test_a_read_says_what_was_written_last(ignored: float, length: int, seed: int) -> None:
    task = TASKS["flip-flop"]
    draws = [task.draw, *(trial.draw for trial in task.trials if trial.draw)]
    example = draws[[0.8, 0.98, 0.1].index(ignored)](default_rng(seed), length, 5)
    start, *rest = task.written(example).split()
    instructions, bits = rest[::2], rest[1::2]
    assert start == "start" and instructions[0] == "w" and instructions[-1] == "r"
    assert len(instructions) == length + 1
    written = ""
    for place, (instruction, bit) in enumerate(zip(instructions, bits, strict=True)):
        written = bit if instruction == "w" else written
        assert instruction != "r" or bit == written
        assert example.answered[2 + 2 * place] == (instruction == "r")
    assert example.answered.sum() == instructions.count("r")


@pytest.mark.parametrize(("number", "ignored"), [(0, 0.8), (1, 0.98), (2, 0.1)])
def test_ignores_are_as_frequent_as_is_said(number: int, ignored: float) -> None:
    task = TASKS["flip-flop"]
    draw = task.trials[number].draw or task.draw
    shown = task.written(draw(default_rng(0), 20_000, 5)).split()[1::2]
    assert shown.count("i") / 20_000 == pytest.approx(ignored, abs=0.015)
    assert shown.count("w") / 20_000 == pytest.approx((1 - ignored) / 2, abs=0.015)


def test_numbers_have_no_leading_zero() -> None:
    for seed in range(200):
        prompt, answer = words(TASKS["addition"], drawn("addition", seed, 3))
        at = prompt.index("+")
        assert "0" not in (prompt[0], prompt[at + 1], answer[0])


@pytest.mark.parametrize(("factor", "length"), [(1, 7), (1.5, 11), (2, 14), (3, 21)])
def test_a_trial_is_rounded_up(factor: float, length: int) -> None:
    assert Trial("", factor).length(7) == length


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("trained", [1, 2, 40])
def test_every_trial_can_be_drawn_whatever_the_length(name: str, trained: int) -> None:
    task = TASKS[name]
    for trial in task.trials:
        draw = trial.draw or task.draw
        example = draw(default_rng(0), trial.length(trained), task.symbols(trained))
        assert len(example.tokens) <= task.tokens(trial.length(trained))
    assert [trial.beyond for trial in task.trials] == [False, *[True] * (len(task.trials) - 1)]


def test_lengths_are_those_of_the_table() -> None:
    assert [trial.name for trial in LENGTHS] == ["1x", "1.5x", "2x", "3x"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("copi", "did you mean copy?"), ("zzz", "choose from copy, repeat, reverse, sort, addition")],
)
def test_an_unknown_task_is_named(name: str, said: str) -> None:
    with pytest.raises(BadInput, match=said.replace("?", r"\?")):
        find(name)


def test_every_task_says_what_it_is() -> None:
    for name, task in TASKS.items():
        assert task.asks and task.counts and task.source and task.length > 0, name


def test_the_page_lists_every_task_as_it_is() -> None:
    page = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
    for name, task in TASKS.items():
        shown = task.written(task.draw(default_rng(1), 4, task.symbols(task.length)))
        row = f"| {name}: {task.asks} | `{shown}` | {task.counts} | {task.length} |"
        assert row in page, row
