"""Training on a task: the loss is on answers, a test is greedy decoding, and seeds are paired."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from wordorder.batch import Batch
from wordorder.errors import BadInput
from wordorder.experiments.algorithms import ANSWER, END, START, TASKS, Example, find
from wordorder.experiments.task_training import (
    Protocol,
    TaskBatches,
    TaskRun,
    batch_of,
    can_read,
    protocol_of,
    score,
    seconds_of,
    train_on_task,
    trial_examples,
)
from wordorder.model import LanguageModel
from wordorder.model.decoding import Sampling, generate
from wordorder.positions import PositionError

TINY = Protocol("repeat", 4, 60, batch_size=16, width=32, layers=2, heads=2, examples=40, tests=4)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def example(*tokens: int, answer: int) -> Example:
    """An example whose last `answer` tokens are the answer."""
    return Example(np.array(tokens), np.arange(len(tokens)) >= len(tokens) - answer)


def test_only_answers_are_targets_and_padding_counts_for_nothing() -> None:
    batch = batch_of([example(0, 7, 1, 8, 2, answer=2), example(0, 7, 8, 1, 9, 9, 2, answer=3)])
    assert batch.tokens.tolist() == [[0, 7, 1, 8, 2, 0], [0, 7, 8, 1, 9, 9]]
    assert batch.targets.tolist() == [[-1, -1, 8, 2, -1, -1], [-1, -1, -1, 9, 9, 2]]


@pytest.mark.parametrize("name", TASKS)
def test_targets_are_the_answers_of_every_task(name: str) -> None:
    batch = TaskBatches(TASKS[name], 6, 8, seed=3).at(0)
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        if name == "flip-flop":
            expected = [place % 2 == 1 and tokens[place] == 6 for place in range(len(tokens))]
            assert [t >= 0 for t in targets] == expected
        elif name == "associative-recall":
            first = tokens.index(ANSWER)
            asked = targets[first + 1 :: 2]
            assert [t for t in targets if t >= 0] == [t for t in asked if t >= 0]
            assert 2 * len([t for t in asked if t >= 0]) == first - 1
        else:
            first = tokens.index(ANSWER)
            last = targets.index(END)
            assert all((t >= 0) == (first <= p <= last) for p, t in enumerate(targets))
            assert targets[first:last] == tokens[first + 1 : last + 1]


def test_a_batch_depends_on_seed_and_number_alone() -> None:
    one, other = (TaskBatches(TASKS["copy"], 6, 8, seed=3) for _ in range(2))
    one.at(0)
    assert (one.at(5).tokens == other.at(5).tokens).all()
    assert one.at(5).tokens.tolist() != one.at(6).tokens.tolist()
    assert one.at(5).tokens.tolist() != TaskBatches(TASKS["copy"], 6, 8, 4).at(5).tokens.tolist()


def test_training_has_every_length_up_to_its_own_and_none_beyond() -> None:
    batch = TaskBatches(TASKS["repeat"], 5, 400, seed=0).at(0)
    lengths = ((batch.targets >= 0).sum(1) - 1).tolist()
    counted = [lengths.count(n) for n in range(1, 6)]
    assert sum(counted) == 400 and min(counted) > 50


def test_flip_flops_have_one_length() -> None:
    batch = TaskBatches(TASKS["flip-flop"], 5, 20, seed=0).at(0)
    assert (batch.tokens[:, 0] == START).all() and batch.tokens.shape == (20, 12)
    assert (batch.tokens >= 3).sum(1).tolist() == [11] * 20


def test_embeddings_with_one_seed_read_the_same_and_share_their_weights() -> None:
    one, other = (TaskRun(TINY, position, seed=2) for position in ("rotary", "t5"))
    for number in range(3):
        batches = [run.training.batches.at(number) for run in (one, other)]
        assert (batches[0].tokens == batches[1].tokens).all()
    weights = [dict(run.model.named_parameters()) for run in (one, other)]
    shared = weights[0].keys() & weights[1].keys()
    assert len(shared) == len(weights[0])
    assert all((weights[0][name] == weights[1][name]).all() for name in shared)


def test_what_is_tested_is_exactly_as_long_and_the_same_for_all() -> None:
    protocol = Protocol("copy", 4, 10, examples=9)
    for number, length in enumerate((4, 6, 8, 12)):
        found = trial_examples(protocol, number)
        assert [len(e.tokens) for e in found] == [2 * length + 3] * 9
        again = trial_examples(protocol, number)
        assert all((a.tokens == b.tokens).all() for a, b in zip(found, again, strict=True))


@pytest.fixture(scope="module")
def half_trained() -> LanguageModel:
    """A model that is sometimes right, which is what a comparison of two tests needs."""
    torch.set_num_threads(1)
    run = TaskRun(TINY, "rotary", seed=0)
    while run.training.done < 35:
        run.training.step()
    return run.model


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_right_answer_is_what_greedy_decoding_writes(
    half_trained: LanguageModel, number: int
) -> None:
    examples, right = trial_examples(TINY, number), []
    for each in examples:
        tokens = each.tokens.tolist()
        at = tokens.index(ANSWER) + 1
        greedy = Sampling(temperature=0, min_p=0, max_tokens=len(tokens) - at)
        right.append(list(generate(half_trained, tokens[:at], greedy)) == tokens[at:])
    found = score(half_trained, examples)
    assert found["exact"] == sum(right) / len(right)
    if number == 0:
        assert 0.1 < found["exact"] < 0.99


class Always(torch.nn.Module):
    """A model that finds one token the likeliest everywhere."""

    def __init__(self, token: int) -> None:
        super().__init__()
        self.token = token

    def hidden(self, batch: Batch) -> torch.Tensor:
        answers = torch.full_like(batch.tokens, self.token)
        return torch.nn.functional.one_hot(answers, 12).float()

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden


@pytest.mark.parametrize(
    ("token", "exact", "share"), [(END, 0.5, 0.0), (8, 0.0, 2 / 3), (9, 0.0, 1 / 3)]
)
def test_the_share_of_tokens_leaves_the_ends_out(token: int, exact: float, share: float) -> None:
    """Three tokens are asked for in all: 8, 8 and 9; one answer is its end alone."""
    asked = [example(0, 7, 1, 8, 8, 9, 2, answer=4), example(0, 7, 1, 2, answer=1)]
    found = score(Always(token), asked)  # type: ignore[arg-type]
    assert found == pytest.approx({"exact": exact, "token": share})


@pytest.mark.parametrize(
    ("name", "position"),
    [
        ("repeat", "rotary"),
        pytest.param("flip-flop", "none", marks=pytest.mark.slow),
        pytest.param("parity", "t5", marks=pytest.mark.slow),
    ],
)
def test_a_tiny_model_learns_a_tiny_task(name: str, position: str) -> None:
    length = 6 if name == "flip-flop" else 3
    protocol = Protocol(name, length, 120, batch_size=32, width=32, layers=2, heads=2, tests=2)
    result = train_on_task(protocol, position, seed=0)
    trained = find(name).trials[0].name
    assert result["curve"][-1]["trials"][trained]["token"] > 0.9
    assert result["curve"][-1]["loss"] < 0.5 * result["curve"][0]["loss"]


@pytest.mark.slow
def test_a_run_is_the_same_again_and_is_told() -> None:
    told: list[tuple[float, str]] = []
    results = [
        train_on_task(TINY, "alibi", 1, lambda share, line: told.append((share, line)))
        for _ in range(2)
    ]
    assert results[0]["curve"] == results[1]["curve"]
    assert [record["step"] for record in results[0]["curve"]] == [15, 30, 45, 60]
    assert [share for share, _ in told[:4]] == [0.25, 0.5, 0.75, 1.0]
    assert told[3][1].startswith("step 60/60, loss 0.") and "2x" in told[3][1]


def test_what_cannot_be_represented_is_no_number() -> None:
    run = TaskRun(TINY, "learned", seed=0)
    found = run.test()
    assert found["1x"] is not None
    assert [found[name] for name in ("1.5x", "2x", "3x")] == [None] * 3


def test_one_token_more_than_the_table_holds_cannot_be_read() -> None:
    model = TaskRun(replace(TINY, task="parity"), "learned", seed=0).model
    assert can_read(model, find("parity"), 4) and not can_read(model, find("parity"), 5)
    score(model, [TASKS["parity"].draw(np.random.default_rng(0), 4, 2)])
    with pytest.raises(BadInput, match="past the largest"):
        score(model, [TASKS["parity"].draw(np.random.default_rng(0), 5, 2)])


def test_randomized_positions_are_fed_in_training_alone() -> None:
    run = TaskRun(TINY, "randomized:limit=64+sinusoidal", seed=0)
    tokens = run.training.batches.at(0).tokens
    fed = run.training.with_sampled_positions(Batch(tokens), 0).positions
    assert fed is not None and int(fed.max()) > tokens.shape[1]
    assert run.test()["3x"] is not None


def test_an_embedding_that_does_not_fit_is_refused() -> None:
    with pytest.raises(PositionError, match="leads to positions up to"):
        TaskRun(TINY, "randomized+learned", seed=0)


def test_a_protocol_is_the_tasks_own_but_where_it_is_given() -> None:
    own = protocol_of("copy")
    assert own.length == find("copy").length
    assert protocol_of("copy", steps=7, length=3) == replace(own, steps=7, length=3)


def test_expected_seconds_are_those_of_all_steps() -> None:
    short = seconds_of(TINY, "none")
    long = seconds_of(replace(TINY, steps=6000), "none")
    assert 0 < short < long
