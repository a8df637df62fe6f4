"""Coupled positions in tasks: the task provides them, in training and in tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from in_this_process import InThisProcess

from wordorder.errors import BadInput
from wordorder.experiments.algorithms import PLUS, TASKS, Example
from wordorder.experiments.task_training import (
    Protocol,
    TaskRun,
    batch_of,
    coupling_of,
    likeliest,
    score,
    train_on_task,
    trial_examples,
)
from wordorder.experiments.tasks import TasksConfig, run_tasks
from wordorder.model import ModelConfig
from wordorder.training.config import TrainConfig
from wordorder.training.training_data import read_training_data

TASK = TASKS["addition-reversed"]
TINY = Protocol(
    "addition-reversed", 3, 4, batch_size=8, width=16, layers=1, heads=2, examples=12, tests=2
)
SPEC = "coupled+learned"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def drawn(length: int, seed: int) -> Example:
    return TASK.draw(np.random.default_rng(seed), length, 11)


def coupled(example: Example) -> list[int]:
    assert TASK.coupling is not None
    return TASK.coupling(example).tolist()


@pytest.mark.parametrize("length", [1, 2, 5, 12])
def test_digits_of_one_significance_share_a_position(length: int) -> None:
    for seed in range(20):
        example = drawn(length, seed)
        answer = int(example.answered.sum()) - 1  # digits
        places = list(range(1, length + 1))
        expected = [0, *places, 0, *places, 0, *range(1, answer + 1), 0]
        assert coupled(example) == expected
        assert example.tokens[length + 1] == PLUS


def test_a_position_follows_from_the_tokens_so_far() -> None:
    """Cut anywhere, an example has the same positions up to there."""
    example = drawn(4, 3)
    whole = coupled(example)
    for end in range(1, len(whole) + 1):
        start = Example(example.tokens[:end], example.answered[:end])
        assert coupled(start) == whole[:end]


def test_a_batch_holds_them_beside_its_tokens() -> None:
    examples = [drawn(2, 0), drawn(4, 1)]
    batch = batch_of(examples, TASK.coupling)
    assert batch.positions is not None and not batch.consecutive
    assert batch.positions.shape == batch.tokens.shape
    for row, example in enumerate(examples):
        read = len(example.tokens) - 1
        assert batch.positions[row, :read].tolist() == coupled(example)[:read]
    plain = batch_of(examples)
    assert plain.positions is None and torch.equal(plain.tokens, batch.tokens)


def test_training_adds_an_offset_and_tests_do_not() -> None:
    run = TaskRun(TINY, "coupled:most=9+learned:length=30", seed=0)
    batch = run.training.batches.at(0)
    assert batch.positions is not None and int(batch.positions.max()) <= 4
    fed = run.training.with_sampled_positions(batch, 0).positions
    assert fed is not None and int(fed.max()) > 4
    added = fed - batch.positions
    assert (added == added[:, :1]).all() and len(set(added[:, 0].tolist())) > 1
    seen = []
    run.model.register_forward_pre_hook(lambda *_: None)
    original = run.model.hidden

    def hidden(batch):
        seen.append(batch.positions)
        return original(batch)

    run.model.hidden = hidden  # type: ignore[method-assign]
    likeliest(run.model, batch)
    assert torch.equal(seen[0], batch.positions)


def test_answers_depend_on_the_positions_that_are_given() -> None:
    run = TaskRun(TINY, SPEC, seed=0)
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(1))
    batch = batch_of(trial_examples(TINY, 0), TASK.coupling)
    plain = batch._replace(positions=None)
    assert not torch.equal(likeliest(run.model, batch), likeliest(run.model, plain))
    assert score(run.model, trial_examples(TINY, 0), TASK.coupling).keys() == {"exact", "token"}


def test_a_table_of_the_trained_length_reads_longer_sums() -> None:
    """Three times the digits need no more positions than training feeds, offset included."""
    plain, shared = (TaskRun(TINY, spec, seed=0).test() for spec in ("learned", SPEC))
    assert [plain[name] for name in ("1.5x", "2x", "3x")] == [None] * 3
    assert all(shared[name] is not None for name in ("1x", "1.5x", "2x", "3x"))
    short = TaskRun(TINY, "coupled:most=1+learned:length=9", seed=0).test()
    assert short["2x"] is not None and short["3x"] is None  # 9 digits and a carry: position 10


def test_a_run_is_trained_and_its_curve_complete(tmp_path: Path) -> None:
    for spec in (SPEC, "coupled+rotary"):
        result = train_on_task(TINY, spec, seed=0)
        assert result["curve"][-1]["trials"]["3x"] is not None
    config = TasksConfig(
        ("addition-reversed",), (SPEC,), seeds=1, steps=2, length=2, out=str(tmp_path / "tasks")
    )
    folder = run_tasks(config, launcher=InThisProcess())
    assert (folder / "results.jsonl").read_text(encoding="utf-8").count("coupled+learned") == 1


def test_a_task_without_positions_is_refused() -> None:
    """The place of an answer's first digit is not known while it is written."""
    for task in ("addition", "copy"):
        with pytest.raises(BadInput) as caught:
            replace(TINY, task=task).training("coupled+learned", 0)
        assert caught.value.code == "experiments.no-coupled-positions"
        assert "--tasks addition-reversed" in str(caught.value)
    assert coupling_of("copy", "learned") is None


def test_a_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("one two three\n" * 40, encoding="utf-8")
    model = ModelConfig(position=SPEC, width=16, heads=2, layers=1, trained_length=16)
    with pytest.raises(BadInput) as caught:
        read_training_data(TrainConfig(model, data=(str(tmp_path / "text.txt"),)))
    assert caught.value.code == "training.no-task-positions"
