"""Trains a small model on one algorithmic task, and tests it beyond its length during training.

It uses the loop of `wordorder train` with examples instead of text and the loss on answers only.
Batches are a function of the seed and the step, so embeddings with the same seed get the same
examples in the same order and share their initial weights.

An answer is correct if every token is the most likely one after the true ones before it, which is
equivalent to greedy decoding. So one forward pass tests many examples.

The curve matters: accuracy beyond the trained length often comes and goes, while that within the
length stays the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.random import default_rng
from torch import Tensor

from wordorder.batch import Batch
from wordorder.errors import BadInput
from wordorder.experiments.algorithms import (
    END,
    FIRST_SYMBOL,
    START,
    TASKS,
    Coupling,
    Example,
    Task,
    Trial,
    find,
)
from wordorder.model import LanguageModel, ModelConfig, evaluating, make_model
from wordorder.positions import wants_task_positions
from wordorder.text.batches import NOT_COUNTED
from wordorder.training.compute import Compute, use
from wordorder.training.config import TrainConfig
from wordorder.training.training import Training

TRAINING, TESTING = 0, 1  # which examples a generator draws
TOKENS_AT_ONCE = 1 << 14  # in a test
STEPS_TIMED = 4

STEPS = 600
OTHERWISE: dict[str, dict[str, Any]] = {
    "addition": {"steps": 1200},
    "addition-reversed": {"steps": 1200},
    # Source: Yang et al. 2025, PaTH Attention, table 1: one layer, two heads, width 64.
    "flip-flop": {"steps": 1200, "layers": 1, "heads": 2},
}

Tell = Callable[[float, str], Any]


@dataclass(frozen=True)
class Protocol:
    """How models are trained and tested on a task: everything but embedding and seed.

    Args:
        length: the longest trained length.
        steps: optimizer steps, of `batch_size` examples each.
        examples: test examples in each trial.
        tests: the number of tests during training, the last one after the last step.
    """

    task: str
    length: int
    steps: int
    batch_size: int = 64
    width: int = 64
    layers: int = 3
    heads: int = 4
    learning_rate: float = 0.01
    matrix_learning_rate: float = 0.02
    momentum: float = 0.9
    examples: int = 128
    tests: int = 10

    def training(self, position: str, seed: int) -> TrainConfig:
        """Return the configuration of one run.

        Raises:
            BadInput: the embedding takes positions from the task, which provides none.
        """
        task = find(self.task)
        coupling_of(self.task, position)
        model = ModelConfig(
            position=position,
            vocabulary_size=FIRST_SYMBOL + task.symbols(self.length),
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            dropout=0.0,
            trained_length=task.tokens(self.length) - 1,  # the last token is never read
        )
        return TrainConfig(
            model=model,
            batch_size=self.batch_size,
            steps=self.steps,
            learning_rate=self.learning_rate,
            matrix_learning_rate=self.matrix_learning_rate,
            momentum=self.momentum,
            seed=seed,
        )


def protocol_of(name: str, steps: int | None = None, length: int | None = None) -> Protocol:
    """Return a task's protocol, with its own number of steps and length unless they are given.

    Raises:
        BadInput: an unknown task.
    """
    task = find(name)
    own: dict[str, Any] = {"steps": STEPS, **OTHERWISE.get(name, {})}
    overrides = {"steps": steps or own["steps"], "length": length or task.length}
    return Protocol(task=name, **{**own, **overrides})


def coupling_of(name: str, position: str) -> Coupling | None:
    """Return the function that gives an embedding a task's positions; None for plain ones.

    Raises:
        BadInput: the embedding takes the task's positions, and it provides none.
    """
    if not wants_task_positions(position):
        return None
    coupling = find(name).coupling
    if coupling is None:
        coupled = ", ".join(name for name, task in TASKS.items() if task.coupling)
        raise BadInput(
            f"{position} takes positions from the task, and {name} provides none "
            f"that follow from the tokens so far: use --tasks {coupled}",
            code="experiments.no-coupled-positions",
        )
    return coupling


class TaskBatches:
    """Training examples, each batch a function of (seed, index).

    Args:
        length: the longest length; a task with varied lengths draws each example's from 1 up.
        coupling: gives the examples their positions; None: plain ones.
    """

    def __init__(
        self,
        task: Task,
        length: int,
        batch_size: int,
        seed: int,
        coupling: Coupling | None = None,
    ) -> None:
        self.task, self.length, self.batch_size, self.seed = task, length, batch_size, seed
        self.coupling = coupling

    def at(self, index: int) -> Batch:
        """The batch with this number; the same for the same seed, whatever came before."""
        random = default_rng([self.seed, index, TRAINING])
        least = 1 if self.task.varied else self.length
        lengths = random.integers(least, self.length + 1, size=self.batch_size)
        symbols = self.task.symbols(self.length)
        examples = [self.task.draw(random, int(n), symbols) for n in lengths]
        return batch_of(examples, self.coupling)


class EachTokenAByte:
    """Stands in for the text whose bytes `Training` counts: each token is one byte."""

    bytes = targets = 1
    lossless = True

    def __len__(self) -> int:
        return 1


@dataclass(frozen=True)
class TaskMaterial:
    """Stands in for the text that `Training` reads."""

    task: Task
    length: int
    training = EachTokenAByte()

    def batches(self, config: TrainConfig) -> TaskBatches:
        """Return the training batches of a configuration."""
        coupling = self.task.coupling if wants_task_positions(config.model.position) else None
        return TaskBatches(self.task, self.length, config.batch_size, config.seed, coupling)


def batch_of(examples: Sequence[Example], coupling: Coupling | None = None) -> Batch:
    """Return examples as rows of inputs and targets; only answers are targets.

    Rows are padded on the right; no example's token attends to padding, which is never a target.

    Args:
        coupling: gives the examples their positions; None: plain ones.
    """
    shape = len(examples), max(len(example.tokens) for example in examples)
    tokens, targets = np.full(shape, START), np.full(shape, NOT_COUNTED)
    for row, example in enumerate(examples):
        end = len(example.tokens)
        tokens[row, :end] = example.tokens
        targets[row, :end] = np.where(example.answered, example.tokens, NOT_COUNTED)
    read, expected = tokens[:, :-1].copy(), targets[:, 1:].copy()
    if coupling is None:
        return Batch(torch.from_numpy(read), torch.from_numpy(expected), consecutive=True)
    positions = np.zeros(shape, np.int64)
    for row, example in enumerate(examples):
        positions[row, : len(example.tokens)] = coupling(example)
    return Batch(
        torch.from_numpy(read),
        torch.from_numpy(expected),
        positions=torch.from_numpy(positions[:, :-1].copy()),
    )


def trial_examples(protocol: Protocol, number: int) -> list[Example]:
    """Return what a trial tests: the same examples for every embedding and seed."""
    task = find(protocol.task)
    trial = task.trials[number]
    random = default_rng([0, number, TESTING])
    draw, length = trial.draw or task.draw, trial.length(protocol.length)
    symbols = task.symbols(protocol.length)
    return [draw(random, length, symbols) for _ in range(protocol.examples)]


def distinct_examples(protocol: Protocol, number: int) -> int:
    """Return the number of distinct test examples of a trial."""
    return len({example.tokens.tobytes() for example in trial_examples(protocol, number)})


def can_read(model: LanguageModel, task: Task, length: int) -> bool:
    """Whether a model's embedding can represent every position of an example of this length."""
    longest = model.position.max_position
    return longest is None or task.tokens(length) - 2 <= longest


def score(
    model: LanguageModel, examples: Iterable[Example], coupling: Coupling | None = None
) -> dict[str, float]:
    """Return the fraction of correct answers, and of correct answer tokens without the ends.

    Args:
        coupling: gives the examples their positions; None: plain ones.

    Not here: token-by-token generation. An embedding that scales with the text length (rotary,
    dynamic) gets the whole length here; in generation the length grows by one token each step.
    """
    answers, tokens, right_answers, right_tokens = 0, 0, 0, 0
    for batch in _parts(list(examples), coupling):
        expected = batch.targets
        assert expected is not None
        right = likeliest(model, batch) == expected
        counted = expected != NOT_COUNTED
        inner = counted & (expected != END)
        answers += len(expected)
        right_answers += int((right | ~counted).all(1).sum())
        tokens += int(inner.sum())
        right_tokens += int((right & inner).sum())
    return {"exact": right_answers / answers, "token": right_tokens / tokens}


@torch.no_grad()
def likeliest(model: LanguageModel, batch: Batch) -> Tensor:
    """Return the most likely token at each answer position, -1 elsewhere; (batch, time)."""
    assert batch.targets is not None
    counted = batch.targets != NOT_COUNTED
    tokens = torch.full_like(batch.targets, NOT_COUNTED)
    with evaluating(model):
        hidden = model.hidden(Batch(batch.tokens, positions=batch.positions))
        tokens[counted] = model.logits(hidden[counted]).argmax(-1)
    return tokens


def _parts(examples: list[Example], coupling: Coupling | None) -> list[Batch]:
    rows = max(1, TOKENS_AT_ONCE // max(len(example.tokens) for example in examples))
    return [batch_of(examples[at : at + rows], coupling) for at in range(0, len(examples), rows)]


class TaskRun:
    """One model on one task, at its first step.

    Raises:
        PositionError: an embedding that does not fit this model.
    """

    def __init__(self, protocol: Protocol, position: str, seed: int) -> None:
        self.protocol, self.task = protocol, find(protocol.task)
        self.coupling = coupling_of(protocol.task, position)
        config = protocol.training(position, seed)
        machine = Compute("cpu", torch.get_num_threads(), kernel="plain")
        model = make_model(config.model)
        assert isinstance(model, LanguageModel)
        model.initialise(seed)
        use(model, machine)
        self.model = model
        material: Any = TaskMaterial(self.task, protocol.length)
        self.training = Training(config, machine, material, model, protocol.steps)

    def test(self) -> dict[str, dict[str, float] | None]:
        """Return the score of each trial; None where the embedding cannot represent its length."""
        return {t.name: self.try_one(n, t) for n, t in enumerate(self.task.trials)}

    def try_one(self, number: int, trial: Trial) -> dict[str, float] | None:
        examples = trial_examples(self.protocol, number)
        if self.coupling is not None:
            most = max(int(self.coupling(example)[:-1].max()) for example in examples)
            longest = self.model.position.max_position
            can = longest is None or most <= longest
        else:
            can = can_read(self.model, self.task, trial.length(self.protocol.length))
        return score(self.model, examples, self.coupling) if can else None


def train_on_task(
    protocol: Protocol, position: str, seed: int, tell: Tell = lambda share, line: None
) -> dict[str, Any]:
    """Train one model and return its learning curve, parameter counts and time as JSON.

    Args:
        position: the spec of a positional embedding.
        seed: of initial weights and examples.
        tell: called with the share that is done and a line about it.

    Raises:
        Failed: a loss that is not finite.
        PositionError: an embedding that does not fit this model.
    """
    started = time.perf_counter()
    run = TaskRun(protocol, position, seed)
    due = {round(n * protocol.steps / protocol.tests) for n in range(1, protocol.tests + 1)} - {0}
    curve, losses = [], []
    while run.training.done < protocol.steps:
        losses.append(run.training.step()["loss"])
        step = run.training.done
        if step in due:
            curve.append({"step": step, "loss": sum(losses) / len(losses), "trials": run.test()})
            tell(step / protocol.steps, _line(step, protocol.steps, curve[-1]))
            losses = []
    return {
        "protocol": asdict(protocol),
        "position": position,
        "seed": seed,
        "parameters": run.model.parameter_counts(),
        "seconds": round(time.perf_counter() - started, 2),
        "curve": curve,
    }


def seconds_of(protocol: Protocol, position: str) -> float:
    """Estimate the time of a run from a few steps and one test of every trial."""
    run = TaskRun(protocol, position, seed=0)
    run.training.step()
    before = time.perf_counter()
    for _ in range(STEPS_TIMED):
        run.training.step()
    step = (time.perf_counter() - before) / STEPS_TIMED
    before = time.perf_counter()
    run.test()
    return protocol.steps * step + protocol.tests * (time.perf_counter() - before)


def in_words(trials: Mapping[str, Mapping[str, float] | None]) -> str:
    """Return the scores of all trials in one line."""
    scores = (f"{k} cannot" if v is None else f"{k} {v['exact']:.2f}" for k, v in trials.items())
    return f"accuracy: {', '.join(scores)}"


def _line(step: int, steps: int, record: dict[str, Any]) -> str:
    return f"step {step:,}/{steps:,}, loss {record['loss']:.3f}, {in_words(record['trials'])}"
